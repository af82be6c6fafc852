"""``netunedctl status``: which cards are in sync; one card setting by setting, queue by queue."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.cli import answers
from netuned.cli.arguments import card_name, own_name
from netuned.cli.text import BOLD, STATE_COLOURS, Screen, lasting, print_json
from netuned.errors import StartingError
from netuned.status import (
    IN_SYNC,
    NOT_RUNNING,
    OUT_OF_SYNC,
    RESYNCED,
    STARTING,
    UNMANAGED,
    Applied,
    ManagerStatus,
    NicStatus,
    QueueStatus,
    SettingStatus,
    Status,
    card_in_sync,
    in_sync,
)
from netuned.text import counted, escape

if TYPE_CHECKING:
    import argparse
    from types import SimpleNamespace

IDLE_SHOWN = SHOWN = 3
PLAIN = {"nics": (), "json": False, "oneline": False, "exit_code": False}
"""The arguments of one without any."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nics",
        metavar="NIC",
        nargs="*",
        type=card_name,
        help="show this card in full; of several, or a pattern like 'en*', a line each",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print JSON")
    how.add_argument("--oneline", action="store_true", help="say in one line if all is in sync")
    parser.add_argument(
        "--exit-code",
        action="store_true",
        help="exit with 3 if not in sync, or unconfirmed",
    )


def run(arguments: argparse.Namespace | SimpleNamespace) -> int:
    status = answers.status(json=arguments.json)
    if not arguments.oneline:
        status = _with_unmanaged(status)
    nic = None
    if arguments.nics:
        status, nic = _of(status, arguments.nics)
    if arguments.json:
        from dataclasses import asdict

        print_json(asdict(nic or status))
    elif arguments.oneline:
        print(escape(oneline(status, arguments.nics)))
    else:
        screen = Screen.of_stdout()
        if status.manager.state in answers.UNSURE:
            print(screen.sentence(answers.caveat(status.manager)))
        if nic:
            print(card(nic, screen), end="")
        else:
            print(
                cards(status.nics, screen) if arguments.nics else overview(status, screen), end=""
            )
    settled = all(map(card_in_sync, status.nics)) if arguments.nics else in_sync(status)
    settled = settled and status.manager.state != NOT_RUNNING
    return answers.PENDING if arguments.exit_code and not settled else 0


def _with_unmanaged(status: Status) -> Status:
    """With what is there on unmanaged cards; to read that takes more than all the rest."""
    if any(
        nic.state == UNMANAGED and os.path.exists(f"/sys/class/net/{nic.name}/device")
        for nic in status.nics
    ):
        from netuned.snapshots.unmanaged import filled

        return filled(status, wire.text)
    return status


def _of(status: Status, words: list[str]) -> tuple[Status, NicStatus | None]:
    """The part that is about the cards that are meant; and the card, where one name means one.

    Raises: NetunedError where a word means none.
    """
    named = {nic.name: nic.altnames for nic in status.nics}
    known = {*named, *chain(*named.values())}
    meant: set[str] = set()
    for word in words:
        like = [] if word in known else _like(word, named)
        if not like and status.manager.state == STARTING and word not in known:
            raise StartingError(f"netuned is starting, and has not found {word} yet; ask again")
        meant.update(like or [own_name(word, named)])
    nics = tuple(nic for nic in status.nics if nic.name in meant)
    is_one = len(words) == 1 and words[0] in known
    return replace(status, nics=nics), nics[0] if is_one else None


def _like(pattern: str, named: Mapping[str, Collection[str]]) -> list[str]:
    """The cards of which a name is like a shell's pattern."""
    return [
        name
        for name, altnames in named.items()
        if any(fnmatchcase(each, pattern) for each in (name, *altnames))
    ]


def oneline(status: Status, words: Collection[str]) -> str:
    """How the cards are in one line, and where none is named, the host too."""
    manager, managed = status.manager, [nic for nic in status.nics if nic.profile]
    if manager.state == STARTING:
        return "netuned: starting"
    others = [
        nic
        for nic in status.nics
        if not card_in_sync(nic) or (nic.profile and nic.state != IN_SYNC)
    ]
    good = len(managed) - sum(bool(nic.profile) for nic in others)
    count = counted(len(managed), "card")
    parts = [f"{good} of {count} in sync" if others else f"{count} in sync"]
    if not managed:
        parts = [] if others else ["no profile is in force on a card"]
    if manager.state == NOT_RUNNING:
        parts.insert(0, "not running")
    parts += [
        f"{nic.name} {nic.state}{lasting(nic.since)}{_of_settings(nic)}" for nic in others[:SHOWN]
    ]
    if len(others) > SHOWN:
        parts.append(f"{len(others) - SHOWN} more")
    if not words:
        amiss = [s for s in manager.settings if s.state in OUT_OF_SYNC]
        parts += [f"host {s.tunable} {s.state}{lasting(s.since)}" for s in amiss]
        said = 1 if manager.state == NOT_RUNNING else 0
        for what, sentences in (
            ("profile error", manager.profile_errors),
            ("problem", manager.problems[said:]),
        ):
            parts += [counted(len(sentences), what)] if sentences else []
        if manager.pending_confirm:
            parts.append(f"to be confirmed: {manager.pending_confirm}")
    return f"netuned: {'; '.join(parts)}"


def _of_settings(nic: NicStatus) -> str:
    names = [setting.tunable for setting in nic.settings if setting.state in OUT_OF_SYNC]
    return f" ({', '.join(names)})" if names else ""


def cards(nics: Collection[NicStatus], screen: Screen) -> str:
    """A line for each of these, then what is wrong with them in full."""
    header, rows = ["CARD", "DRIVER", "PROFILE", "STATE", "FOR", "QUEUES", "NOTE"], []
    known = any(nic.since for nic in nics)
    for nic in nics:
        lasted = lasting(nic.since).removeprefix(" for ")
        cells = [nic.name, nic.driver, nic.profile, nic.state, lasted, _queue_count(nic)]
        if not known:
            del cells[4]
        rows.append((cells, _note(nic), nic.name))
    if not known:
        del header[4]
    table = screen.table_with_notes(header, rows) if rows else ""
    details = "".join(_troubles(nic, screen) for nic in nics)
    return "\n".join(filter(None, (table, details)))


def overview(status: Status, screen: Screen) -> str:
    """A line for each card and the host, then what is wrong in full."""
    manager = status.manager
    starting = manager.state == STARTING
    none = "" if starting else "There are no network cards.\n"
    parts = [cards(status.nics, screen) or none]
    parts.append(of_host(manager, screen))
    if not (starting or any(nic.profile for nic in status.nics)):
        idle = [profile.name for profile in manager.profiles if not profile.template]
        none = f"No profile matches a card. {answers.HOW_TO_ENABLE}"
        parts.append(screen.sentence(_idle(idle)) if idle else none)
    return "\n".join(filter(None, parts))


def of_host(manager: ManagerStatus, screen: Screen) -> str:
    """The host's settings, what waits, and what is wrong with more than a card."""
    host = [_host_line(setting) for setting in manager.settings]
    if manager.pending_confirm:
        host.append(f"To be confirmed: {manager.pending_confirm}")
    said = 1 if manager.state == NOT_RUNNING else 0
    host += [f"Problem: {problem}" for problem in manager.problems[said:]]
    host += [f"Conflict: {conflict}" for conflict in manager.conflicts]
    parts = ["".join(map(screen.sentence, host))]
    if manager.profile_errors:
        errors = "".join(screen.sentence(error, "  ") for error in manager.profile_errors)
        parts.append("Profile errors (the last good version of each stays in force):\n" + errors)
    return "\n".join(filter(None, parts))


def _idle(profiles: list[str]) -> str:
    """That there are profiles, and none of them for a card that is here."""
    more = f" and {len(profiles) - IDLE_SHOWN} more" if len(profiles) > IDLE_SHOWN else ""
    names = f"{', '.join(profiles[:IDLE_SHOWN])}{more}"
    return f"No profile matches a card ({names} do not): `netunedctl explain NIC` says why."


def _queue_count(nic: NicStatus) -> str:
    rx = sum(queue.kind == "rx" for queue in nic.queues)
    tx = len(nic.queues) - rx
    if not nic.queues:
        return ""
    return str(rx) if rx == tx else f"{rx} rx, {tx} tx"


def _note(nic: NicStatus) -> str:
    """Which settings are not in sync: ``drifted: irq, rps; unsupported: rss``; or what it tunes."""
    by_state: dict[str, list[str]] = {}
    for setting in nic.settings:
        if setting.state not in (IN_SYNC, nic.state) or setting.state in OUT_OF_SYNC:
            by_state.setdefault(setting.state, []).append(setting.tunable)
    if nic.through:
        return f"through {', '.join(nic.through)}"
    if nic.state == UNMANAGED:
        return "; ".join(filter(None, (_where(nic.queues), _dropped(nic))))
    states = sorted(by_state, key=lambda state: state not in OUT_OF_SYNC)
    return "; ".join(f"{state}: {', '.join(by_state[state])}" for state in states)


def _where(queues: Iterable[QueueStatus]) -> str:
    """On which CPUs a card's interrupts are, all together: ``8 interrupts on CPU 0``."""
    from netuned.cpuset import CpuSet

    cpus = {queue.irq: queue.cpus for queue in queues if queue.irq >= 0 and queue.cpus}
    if not cpus:
        return ""
    everywhere = CpuSet.of(cpu for text in {*cpus.values()} for cpu in CpuSet.parse_list(text))
    on = f"CPU{'s' if len(everywhere) > 1 else ''} {everywhere}"
    return f"{counted(len(cpus), 'interrupt')} on {on}"


def _dropped(nic: NicStatus) -> str:
    """``dropped 1,203 (rx_missed_errors)``: as far as something was."""
    drops = {name: count for name, count in nic.drops.items() if count}
    return f"dropped {sum(drops.values()):,} ({', '.join(drops)})" if drops else ""


def _troubles(nic: NicStatus, screen: Screen) -> str:
    texts = [f"{nic.name}: {nic.last_error}"] if nic.last_error else []
    texts += [
        f"{nic.name} {setting.tunable}{lasting(setting.since)}: {setting.reason}"
        for setting in nic.settings
        if setting.state in OUT_OF_SYNC and setting.reason not in ("", nic.last_error)
    ]
    return "".join(map(screen.sentence, texts))


def _host_line(setting: SettingStatus) -> str:
    found = f": {setting.found}" if setting.found else ""
    if setting.state in OUT_OF_SYNC and setting.wanted:
        found += f", wanted: {setting.wanted}"
    reason = f" ({setting.reason})" if setting.reason else ""
    how = f"{setting.state}{lasting(setting.since) if setting.state in OUT_OF_SYNC else ''}"
    return f"Host: {setting.tunable} {how}{found}{reason}"


def card(nic: NicStatus, screen: Screen) -> str:
    """One card in full."""
    state = screen.paint(nic.state, STATE_COLOURS.get(nic.state, "")) + lasting(nic.since)
    driver = f", driver {nic.driver}" if nic.driver else ""
    profile = f", profile {nic.profile}" if nic.profile else ", no profile matches it"
    if nic.altnames:
        profile += f", also named {', '.join(nic.altnames)}"
    head = f"{screen.paint(escape(nic.name), BOLD)}: {state}{escape(driver + profile)}\n"
    if nic.through:
        cards = ", ".join(nic.through)
        own = "" if nic.settings else f"; nothing is set on {nic.name} itself"
        head += screen.sentence(f"It works through {cards}{own}.")
    if nic.last_change:
        head += screen.sentence(f"Last change: {_change(nic.last_change)}")
    if nic.last_error:
        head += screen.sentence(f"Last error: {nic.last_error}")
    if drops := {name: count for name, count in nic.drops.items() if count}:
        each = ", ".join(f"{name} {count:,}" for name, count in drops.items())
        head += screen.sentence(f"Dropped since its driver is there: {each}.")
    parts = [head]
    if nic.settings:
        header = ("SETTING", "STATE", "WANTED", "FOUND", "REASON")
        rows = (
            ((s.tunable, s.state, s.wanted, _found(s)), s.reason, s.tunable) for s in nic.settings
        )
        parts.append(screen.table_with_notes(header, rows))
    if seen := _seen(nic.settings):
        parts.append(screen.sentence(seen))
    if nic.queues:
        parts.append(_queues(nic.queues, screen))
    return "\n".join(parts)


def _seen(settings: Iterable[SettingStatus]) -> str:
    """How soon a change by somebody else shows; empty where the daemon does not say."""
    names: dict[str, list[str]] = {}
    for setting in settings:
        if setting.seen:
            names.setdefault(setting.seen, []).append(setting.tunable)
    if not names:
        return ""
    looks = "; ".join(f"{seen}: {', '.join(of)}" for seen, of in sorted(names.items()))
    untold = f" What no event tells of, as a driver's own change, is seen {RESYNCED}."
    return f"Changes by others are seen {looks}.{untold if names.keys() != {RESYNCED} else ''}"


def _found(setting: SettingStatus) -> str:
    return "as wanted" if setting.found and setting.found == setting.wanted else setting.found


def _change(change: Applied) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.at))
    setting = f"{change.tunable} {change.key}".rstrip()
    cause = f" ({change.cause})" if change.cause else ""
    return f"{at} {setting}: {change.before or 'none'} -> {change.after}{cause}"


def _queues(queues: Iterable[QueueStatus], screen: Screen) -> str:
    """A row per queue index; interrupts of sending apart only where they are others."""
    pairs: dict[int, dict[str, QueueStatus]] = {}
    for queue in queues:
        pairs.setdefault(queue.index, {})[queue.kind] = queue
    apart = any(
        pair["tx"].irq not in (-1, pair["rx"].irq) for pair in pairs.values() if len(pair) == 2
    )
    header = ["QUEUE", "IRQ", "CPUS", "RPS", "XPS", "QDISC"]
    if apart:
        header = ["QUEUE", "RX IRQ", "CPUS", "RPS", "TX IRQ", "CPUS", "XPS", "QDISC"]
    rows = []
    for index, pair in sorted(pairs.items()):
        rx = pair.get("rx", QueueStatus("rx", index))
        tx = pair.get("tx", QueueStatus("tx", index))
        name = str(index) if len(pair) == 2 else f"{next(iter(pair))}-{index}"
        one = rx if apart or rx.irq >= 0 else tx
        sending = [_irq(tx), tx.cpus] if apart else []
        kind = tx.qdisc.partition(" ")[0]
        rows.append([name, _irq(one), one.cpus, rx.rps, *sending, tx.xps, kind])
    return screen.table(header, rows) + _qdiscs(pairs, screen)


def _irq(queue: QueueStatus) -> str:
    return str(queue.irq) if queue.irq >= 0 else ""


def _qdiscs(pairs: dict[int, dict[str, QueueStatus]], screen: Screen) -> str:
    """The parameters, each set of them once: too long for the table and mostly all the same."""
    from netuned.cpuset import CpuSet

    indexes: dict[str, list[int]] = {}
    for index, pair in pairs.items():
        if "tx" in pair and " " in pair["tx"].qdisc:
            indexes.setdefault(pair["tx"].qdisc, []).append(index)
    texts = [f"Qdisc of tx {CpuSet.of(where)}: {qdisc}" for qdisc, where in indexes.items()]
    return "\n" + "".join(map(screen.sentence, texts)) if texts else ""
