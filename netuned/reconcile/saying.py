"""What the log tells of the looks at a card: changes, what is left as it is, and what fails.

Each line has its facts in fields of their own, too: see ``history``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from netuned.hardware.nic import HOST, Nic
from netuned.history import CHANGE, FAILURE, LEFT, about
from netuned.plan import Change, in_short, merged
from netuned.reconcile.tally import APPLY, DRIFT
from netuned.text import counted

log = logging.getLogger(__name__)


def say_change(nic: Nic, change: Change, cause: str, writer: str = "", *, often: bool) -> None:
    """A change was made. Of a repair that is made ``often`` it has been said that it will be."""
    fields = about(CHANGE, change, cause)
    before, after = fields["before"], fields["after"]
    where = f"{nic.label} {change.tunable} {change.key}".rstrip()
    if cause == DRIFT:
        if writer:
            fields["writer"] = writer
        by = f"; {writer} had set it" if writer else ""
        text = "Repaired %s: found %s, put back %s%s"
        log.log(
            logging.DEBUG if often else logging.WARNING,
            text,
            where,
            before,
            after,
            by,
            extra=fields,
        )
    else:
        asked = ", as asked for" if cause == APPLY else ""
        log.info("Set %s: %s -> %s%s", where, before, after, asked, extra=fields)


def say_in_force(nic: Nic, profile: str, failures: int, *, new: bool) -> None:
    """A look came to its end: after ``failures`` of others, or with something ``new`` set."""
    fields = {"ifname": nic.name}
    if failures:
        times = counted(failures, "failure")
        log.info("%s: in force again after %s", nic.label, times, extra=fields)
    if new and nic is not HOST:
        log.info("In force: %s has profile %s", nic.name, profile, extra=fields)


def say_left(nic: Nic, what: str, changes: Sequence[Change], why: str) -> None:
    """Something is not as wanted and stays so."""
    for name in dict.fromkeys(change.tunable for change in changes):
        of_one = [change for change in changes if change.tunable == name]
        rows, texts = tuple(merged(of_one)), tuple(in_short(of_one))
        whole = {"kind": LEFT, "ifname": nic.name, "tunable": name, "cause": why}
        for number, text in enumerate(texts):
            each = len(texts) == len(rows)
            fields = about(LEFT, rows[number], why) if each else whole
            log.warning("%s: %s (%s)", what, text, why, extra=fields)


def say_lacking(nic: Nic, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """What of the profile the card cannot have, by tunable; once for each reason."""
    for name, why in now.items():
        if before.get(name) != why:
            fields = {"ifname": nic.name, "tunable": name}
            log.warning("Cannot be had: %s %s: %s", nic.label, name, why, extra=fields)


def say_failure(nic: Nic, what: str, change: Change | None, why: str, *, undone: bool) -> None:
    """The card cannot be brought into force."""
    fields: Mapping[str, object] = {"kind": FAILURE, "ifname": nic.name, "cause": why}
    if change:
        fields = about(FAILURE, change, why)
    text = "what came before it was undone, " if undone else ""
    log.error("%s: %s; %strying again", nic.label, what, text, extra=fields)


def say_unplanned(nic: Nic, problem: str) -> None:
    """A profile cannot be planned for the card."""
    fields = {"kind": FAILURE, "ifname": nic.name, "cause": problem}
    log.error("%s: %s", nic.name, problem, extra=fields)
