"""``netunedctl doctor``: what costs a host packets, CPU time or latency, and what mends it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
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

Told = tuple[Collection["Finding"], Collection[str], float, Mapping[str, str]]
"""What is told of a host: findings, its cards' names, over how many seconds, what is not seen."""

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
    parser.add_argument(
        "--try",
        dest="offers",
        action="store_true",
        help="with the experiment that would prove each cure; on a terminal asks which to run",
    )
    parser.add_argument(
        "--with",
        dest="more",
        metavar="WORDS",
        type=_words,
        default=[],
        help="further words of these experiments, like '--runs 8' or \"--load 'iperf3 -c …'\"",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_snapshot(parser)


def _words(text: str) -> Sequence[str]:
    from netuned.cli import offering

    return offering.words(text)


def run(arguments: argparse.Namespace) -> int:
    from netuned.doctor.examine import examine

    if arguments.more and not arguments.offers:
        raise NetunedError("--with has words for experiments; use it with --try")
    if arguments.snapshot is None:
        facts, what = look(arguments.nic, arguments.seconds)
    else:
        facts, what = recorded(arguments.snapshot, arguments.nic)
    findings = examine(facts, what)
    missing = {**what.missing, **facts.missing}
    names = [wire.text(card.nic.name) for card in facts.cards.values()]
    told = findings, names, what.seconds, missing
    if arguments.offers:
        return _offer(arguments, told, facts, what)
    if arguments.json:
        print_json(as_json(*told))
    else:
        print(show(*told, Screen.of_stdout()), end="")
    return 0


def _offer(arguments: argparse.Namespace, told: Told, facts: Facts, what: Sample) -> int:
    """Show the findings with their experiments, and run those that are agreed to."""
    from netuned.cli import offering

    made = offering.made(told[0], facts, what, arguments.more, arguments.snapshot)
    lacks = () if arguments.snapshot else tuple(offering.needed(facts))
    if arguments.json:
        of_all = {"experiments_need": [*lacks]}
        print_json({**as_json(*told, [offering.as_json(one) for one in made]), **of_all})
        return 0
    screen = Screen.of_stdout()
    print(show(*told, screen, [offering.show(one, screen) for one in made]), end="")
    if below := offering.told_below(made, lacks, arguments.snapshot):
        print("\n" + screen.sentence(below), end="")
    can_ask = sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()
    return 0 if below or not can_ask else offering.ask(made)


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
    offers: Sequence[str] = (),
) -> str:
    """What people read: the findings, the most costly first, and what could not be seen.

    ``offers`` are what stands below each finding, or none at all.
    """
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
        text += "".join(offers[number - 1 : number])
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
    offers: Sequence[Mapping[str, object]] = (),
) -> dict[str, object]:
    """The documented form; ``offers`` are more fields of each finding, or none at all."""
    shown = [
        {**asdict(finding), "card": wire.text(finding.card), **offer}
        for finding, offer in zip(findings, offers or [{}] * len(findings), strict=True)
    ]
    unseen = [{"what": escape(what), "why": escape(why)} for what, why in missing.items()]
    return {"cards": [*names], "seconds": seconds, "findings": shown, "missing": unseen}
