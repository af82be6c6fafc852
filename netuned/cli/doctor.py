"""``netunedctl doctor``: what costs a host packets, CPU time or latency, and what mends it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.cli import answers
from netuned.cli.arguments import add_snapshot, card_name, duration_s, nic_named
from netuned.cli.text import BOLD, Screen, print_json
from netuned.errors import NetunedError
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.counters.sample import Sample
    from netuned.doctor.facts import Facts
    from netuned.doctor.finding import Finding
    from netuned.hardware.nic import Nic
    from netuned.status import Status

PARTS = 5
"""Of the time: in each of them is looked which queue a stream takes."""
READERS_S = 0.5, 0.05
"""Processor time that the first look for processes with sockets may take, and each further one."""
PROOFS = 8
"""Counters of a finding that people are shown: there may be one for each queue."""
NO_SAMPLES = "what moves is not seen: `netunedctl snapshot --for 10s` takes two samples of it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nic", metavar="NIC", nargs="?", type=card_name, help="of this card, and the host"
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=duration_s,
        default=10,
        help="how long to look (default: 10s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_snapshot(parser)


def run(arguments: argparse.Namespace) -> int:
    from netuned.doctor.examine import examine

    if arguments.snapshot is None:
        facts, what = look(arguments.nic, arguments.seconds)
    else:
        facts, what = recorded(arguments.snapshot, arguments.nic)
    findings = examine(facts, what)
    missing = {**what.missing, **facts.missing}
    names = [wire.text(card.nic.name) for card in facts.cards.values()]
    if arguments.json:
        print_json(as_json(findings, names, what.seconds, missing))
    else:
        print(show(findings, names, what.seconds, missing, Screen.of_stdout()), end="")
    return 0


def look(name: str | None, seconds: int) -> tuple[Facts, Sample]:
    """This host, looked at for so long. Raises: NetunedError."""
    from netuned.counters.sample import between
    from netuned.counters.take import Taker
    from netuned.doctor import facts as reading
    from netuned.hardware.host import read_host
    from netuned.hardware.namespace import check_namespace
    from netuned.kernel import Kernel
    from netuned.kernel.readers import Readers

    kernel = Kernel()
    check_namespace(kernel)
    host = read_host(kernel)
    chosen = _chosen(host.nics, name)
    facts = reading.read(kernel, host, chosen)
    state, why = _status()
    taker, nics = Taker(kernel), {i: host.nics[i] for i in chosen}
    readers = Readers(*READERS_S, but=os.getpid())
    readers.look()
    samples = [taker.take(nics)]
    late_us = reading.lateness_us()
    for part in range(1, PARTS + 1):
        time.sleep(max(samples[0].at + seconds * part / PARTS - time.monotonic(), 0))
        samples.append(taker.take(nics))
        readers.look()
    steps = tuple(map(between, samples, samples[1:]))
    if os.geteuid():
        why = {**why, "readers of sockets": "of others' processes root alone sees what is open"}
    facts = replace(
        facts,
        status=state,
        late_us=late_us,
        steps=steps,
        readers=readers.ran,
        missing={**facts.missing, **why},
    )
    return facts, between(samples[0], samples[-1])


def _status() -> tuple[Status | None, Mapping[str, str]]:
    from netuned.bus.client import Client
    from netuned.snapshots import unaided

    try:
        return answers.ask(Client.status, lambda absent: unaided.look()), {}
    except NetunedError as error:
        return None, {"netuned's own state": str(error)}


def recorded(path: str, name: str | None) -> tuple[Facts, Sample]:
    """The host of a snapshot, or a described one. Raises: NetunedError."""
    from netuned.counters.sample import Sample, between
    from netuned.doctor import facts as reading
    from netuned.hardware.host import read_host
    from netuned.snapshots import offline

    kernel, samples = offline.load_counted(path)
    host = read_host(kernel)
    facts = reading.read(kernel, host, _chosen(host.nics, name))
    unseen = {
        "netuned's own state": "the daemon's is in no snapshot",
        "wake-ups": "none measured",
        "readers of sockets": "processes are in no snapshot",
    }
    facts = replace(facts, missing={**facts.missing, **unseen})
    if samples:
        return facts, between(*samples)
    return replace(facts, missing={"counters": NO_SAMPLES, **facts.missing}), Sample(0.0)


def _chosen(nics: Mapping[int, Nic], name: str | None) -> list[int]:
    """The cards that are up; or one, with those below it. Raises: NetunedError."""
    if name is None:
        return [ifindex for ifindex, nic in nics.items() if nic.up]
    found = [nic_named(name, nics.values()).ifindex]
    for ifindex in found:  # grows by what lies below
        found += [low for low in nics[ifindex].lowers if low in nics and low not in found]
    return found


def show(
    findings: Collection[Finding],
    names: Collection[str],
    seconds: float,
    missing: Mapping[str, str],
    screen: Screen,
) -> str:
    """What people read: the findings, the most costly first, and what could not be seen."""
    over = f"{', '.join(names) or 'no card'}, {f'over {seconds:.1f} s' if seconds else 'settings'}"
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}" if findings else "No finding"
    text = screen.sentence(f"{count} ({over}).")
    for number, finding in enumerate(findings, 1):
        whose = wire.text(finding.card) or "host"
        text += f"\n{screen.paint(escape(f'{number}. {whose}: {finding.name}'), BOLD)}"
        text += f"  ({finding.sure}, cost {finding.cost:.0f})\n"
        proof = ", ".join(f"{what} {number:,}" for what, number in _largest(finding.proof))
        if (more := len(finding.proof) - PROOFS) > 0:
            proof += f" and {more} more (--json shows all)"
        lines = (("Seen", finding.seen), ("Why it hurts", finding.why), ("Proof", proof),
                 ("By hand", finding.command), ("Besides", finding.other))  # fmt: skip
        text += "".join(screen.sentence(f"{what}: {said}", "   ") for what, said in lines if said)
        if finding.profile:
            text += "   Profile:\n" + "".join(f"     {escape(line)}\n" for line in finding.profile)
    if missing:
        text += "\n" + screen.sentence("Not seen:")
        text += "".join(screen.sentence(f"{what}: {why}", "  ") for what, why in missing.items())
    return text


def _largest(proof: Mapping[str, int]) -> list[tuple[str, int]]:
    """The counters that moved most, in their order."""
    shown = sorted(proof, key=lambda what: -proof[what])[:PROOFS]
    return [(what, number) for what, number in proof.items() if what in shown]


def as_json(
    findings: Collection[Finding],
    names: Collection[str],
    seconds: float,
    missing: Mapping[str, str],
) -> dict[str, object]:
    """The documented form."""
    shown = [{**asdict(finding), "card": wire.text(finding.card)} for finding in findings]
    unseen = [{"what": escape(what), "why": escape(why)} for what, why in missing.items()]
    return {"cards": [*names], "seconds": seconds, "findings": shown, "missing": unseen}
