"""``netunedctl status``: which cards are in sync; one card setting by setting, queue by queue."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from itertools import chain

from netuned.cli import answers
from netuned.cli.profiles import HOW_TO_ENABLE
from netuned.cli.text import BOLD, STATE_COLOURS, Screen, card_name, own_name, print_json
from netuned.errors import StartingError
from netuned.status import (
    APPLYING,
    CONTENDED,
    DEGRADED,
    DRIFTED,
    IN_SYNC,
    NOT_RUNNING,
    PARTIAL,
    PAUSED,
    RESYNCED,
    STARTING,
    UNSUPPORTED,
    WAITING,
    WITHHELD,
    Applied,
    NicStatus,
    QueueStatus,
    SettingStatus,
    Status,
)
from netuned.text import escape

OUT_OF_SYNC = (
    STARTING,
    APPLYING,
    DRIFTED,
    CONTENDED,
    DEGRADED,
    PARTIAL,
    WITHHELD,
    UNSUPPORTED,
    WAITING,
)
IDLE_SHOWN = 3
PENDING = 3
"""The exit status for drift and pending changes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nic", metavar="NIC", nargs="?", default="", type=card_name, help="show this card in full"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--exit-code",
        action="store_true",
        help="exit with 3 if not in sync, or unconfirmed",
    )


def run(arguments: argparse.Namespace) -> int:
    status = answers.status(json=arguments.json)
    nic = _find(status, arguments.nic) if arguments.nic else None
    if arguments.json:
        from dataclasses import asdict

        print_json(asdict(nic or status))
    else:
        screen = Screen.of_stdout()
        if status.manager.state in answers.UNSURE:
            print(screen.sentence(answers.caveat(status.manager)))
        print(card(nic, screen) if nic else overview(status, screen), end="")
    settled = card_in_sync(nic) if nic else in_sync(status)
    settled = settled and status.manager.state != NOT_RUNNING
    return PENDING if arguments.exit_code and not settled else 0


def _find(status: Status, name: str) -> NicStatus:
    named = {nic.name: nic.altnames for nic in status.nics}
    if status.manager.state == STARTING and name not in (*named, *chain(*named.values())):
        raise StartingError(f"netuned is starting, and has not found {name} yet; ask again")
    own = own_name(name, named)
    return next(nic for nic in status.nics if nic.name == own)


def in_sync(status: Status) -> bool:
    """Whether no card, no setting of the host and no profile is amiss, and nothing waits."""
    manager = status.manager
    if manager.state == STARTING:
        return False
    host = any(setting.state in OUT_OF_SYNC for setting in manager.settings)
    amiss = host or manager.profile_errors or manager.problems or manager.pending_confirm
    return not amiss and all(map(card_in_sync, status.nics))


def card_in_sync(nic: NicStatus) -> bool:
    """Whether a card is as its profile says, or has none.

    One that is paused without a profile has something to be put back.
    """
    if nic.state == PAUSED and not nic.profile:
        return False
    return nic.state not in OUT_OF_SYNC and not any(s.state in OUT_OF_SYNC for s in nic.settings)


def overview(status: Status, screen: Screen) -> str:
    """A line for each card and the host, then what is wrong in full."""
    manager = status.manager
    header = ("CARD", "DRIVER", "PROFILE", "STATE", "QUEUES", "NOTE")
    rows = [
        ((nic.name, nic.driver, nic.profile, nic.state, _queue_count(nic)), _note(nic), nic.name)
        for nic in status.nics
    ]
    starting = manager.state == STARTING
    none = "" if starting else "There are no network cards.\n"
    parts = [screen.table_with_notes(header, rows) if rows else none]
    details = "".join(_troubles(nic, screen) for nic in status.nics)
    host = [_host_line(setting) for setting in manager.settings]
    if manager.pending_confirm:
        host.append(f"To be confirmed: {manager.pending_confirm}")
    said = 1 if manager.state == NOT_RUNNING else 0
    host += [f"Problem: {problem}" for problem in manager.problems[said:]]
    host += [f"Conflict: {conflict}" for conflict in manager.conflicts]
    parts += [details, "".join(map(screen.sentence, host))]
    if manager.profile_errors:
        errors = "".join(screen.sentence(error, "  ") for error in manager.profile_errors)
        parts.append("Profile errors (the last good version of each stays in force):\n" + errors)
    if not (starting or any(nic.profile for nic in status.nics)):
        idle = [profile.name for profile in manager.profiles if not profile.template]
        none = f"No profile matches a card. {HOW_TO_ENABLE}"
        parts.append(screen.sentence(_idle(idle)) if idle else none)
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
    states = sorted(by_state, key=lambda state: state not in OUT_OF_SYNC)
    return "; ".join(f"{state}: {', '.join(by_state[state])}" for state in states)


def _troubles(nic: NicStatus, screen: Screen) -> str:
    texts = [f"{nic.name}: {nic.last_error}"] if nic.last_error else []
    texts += [
        f"{nic.name} {setting.tunable}: {setting.reason}"
        for setting in nic.settings
        if setting.state in OUT_OF_SYNC and setting.reason not in ("", nic.last_error)
    ]
    return "".join(map(screen.sentence, texts))


def _host_line(setting: SettingStatus) -> str:
    found = f": {setting.found}" if setting.found else ""
    if setting.state in OUT_OF_SYNC and setting.wanted:
        found += f", wanted: {setting.wanted}"
    reason = f" ({setting.reason})" if setting.reason else ""
    return f"Host: {setting.tunable} {setting.state}{found}{reason}"


def card(nic: NicStatus, screen: Screen) -> str:
    """One card in full."""
    state = screen.paint(nic.state, STATE_COLOURS.get(nic.state, ""))
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
