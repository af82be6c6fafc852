"""A card's changes written, those that go together in one request; and undone in reverse.

Everything here blocks and runs in a worker thread, one at a time per card.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import field, replace

from netuned.errors import KernelError, NetunedError, UnsupportedError
from netuned.hardware.nic import HOST
from netuned.history import FAILURE, about
from netuned.kernel.once import Once
from netuned.plan import Change
from netuned.reconcile.before import taken_along
from netuned.reconcile.card import Card
from netuned.reconcile.contention import Gate
from netuned.records import dataclass
from netuned.tunables.base import CARD, NOTHING, OWN
from netuned.values import ABSENT, Setting, describe

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What a pass did: changes made, those left (``enforce: no``, contended), and the error.

    ``scope`` is what it looked at in the end; None: everything.
    """

    scope: frozenset[str] | None = None
    made: list[Change] = field(default_factory=list)
    pending: tuple[Change, ...] = ()
    withheld: tuple[Change, ...] = ()
    """What the policy forbids."""
    failed: Change | None = None
    error: NetunedError | None = None
    unrestored: list[tuple[Change, NetunedError]] = field(default_factory=list)
    """What could not be put back, and why; all else, but for what needs it, is as wanted."""
    undone: bool = False
    """Whether changes were made before the error, and put back."""
    settled: bool = False
    """Whether the card is as wanted, as far as it can be: an error came after that, or is of
    what could not be put back."""
    believed: set[str] = field(default_factory=set)
    """Tunables of which a write that drops the link came out otherwise, and was not made twice."""
    taken: set[str] = field(default_factory=set)
    """Tunables of which another came out otherwise, however often it was written."""
    requests: Counter[str] = field(default_factory=Counter)
    """How often each tunable was written."""
    trail: list[Change] = field(default_factory=list)
    """What undoing goes back over: changes made, each after those whose settings it took away."""


def _groups(card: Card, changes: Iterable[Change]) -> list[list[Change]]:
    """Changes that go in one request together, each group at the place of its first."""
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        group = card.tunables[change.tunable].group(change.key)
        groups.setdefault((change.tunable, group), []).append(change)
    return list(groups.values())


def write(
    card: Card,
    changes: tuple[Change, ...],
    asked: Once,
    repairs: Gate | None,
    outcome: Outcome,
) -> str:
    """Write changes in order; returns what that made stale. All of the card ends the round.

    What needs a setting that was just made is left for the next round, which sees what it became.
    The first error ends it; but the host's settings have nothing to do with each other, so of them
    the rest is written before it is raised. Raises: NetunedError.
    """
    renewed: set[Setting] = set()
    errors: list[tuple[NetunedError, Change | None]] = []
    for group in _groups(card, changes):
        tunable = card.tunables[group[0].tunable]
        group = [change for change in group if not renewed.intersection(tunable.needs(change.key))]
        for change in group if repairs else ():
            assert repairs
            repairs.repaired(change)  # one that fails, for somebody was quicker, counts too
        try:
            made = _write_group(card, group, asked, outcome)
        except NetunedError as error:
            if card.nic is not HOST:
                raise
            errors.append((error, outcome.failed))
            continue
        stale = {tunable.stale(change.key) for change in group}
        if CARD in stale:  # also where it was refused: the rest was planned for what is to come
            return CARD
        if OWN in stale:
            renewed.update((change.tunable, change.key) for change in made)
    if errors:
        first, outcome.failed = errors[0]
        raise first
    return OWN if renewed else NOTHING


def _write_group(card: Card, group: list[Change], asked: Once, outcome: Outcome) -> list[Change]:
    """Write settings in one request, without those that the card turns out not to have.

    Returns what was written, which ``outcome`` has then, too. Raises: KernelError;
    ``outcome.failed`` is then what it is of.
    """
    while group:
        tunable = card.tunables[group[0].tunable]
        values = {change.key: change.after for change in group}
        outcome.requests[tunable.name] += 1
        try:
            tunable.write(card.view(asked), card.found[tunable.name], values)
        except (UnsupportedError, KernelError) as error:
            if isinstance(error, UnsupportedError):
                named, why = group[:1] if len(group) == 1 else [], error.why
            else:
                at = error.attribute  # empty where it named none, as is the key of some tunables
                named = [change for change in group if at and change.key == at]
                if error.errno == errno.EOPNOTSUPP and len(group) == 1:
                    named = group
                why = error.extack or "refused"
                first, *others = group
                if not others and tunable.declines(error) and _is_asked(card, first):
                    named, why = group, f"{describe(first.before)} -> {first.after}: {error}"
            if not named:
                outcome.trail += group  # a driver may have done a part of it
                if len(group) > 1:  # which of them it is, a try of each will tell
                    alone = ([change] for change in group)
                    return [m for one in alone for m in _write_group(card, one, asked, outcome)]
                outcome.failed = group[0]
                raise
            for change in named:
                card.give_up(change, why)
            group = [change for change in group if change not in named]
        else:
            for change in group:
                outcome.trail += reversed(_taken_along(card, change))
                before = change.before and tunable.recorded(card.nic, change.before)
                outcome.trail.append(replace(change, before=before))
                outcome.made.append(change)
            return group
    return []


def _is_asked(card: Card, change: Change) -> bool:
    """Whether a profile asks for it; what is put back is tried until it is."""
    return (change.tunable, change.key) not in card.restoring


def _taken_along(card: Card, change: Change) -> list[Change]:
    """The settings that a change takes away, as changes whose undoing brings them back."""
    return [
        Change(change.ifname, name, key, value, value, "")
        for name, state in taken_along(card, change)
        for key, value in state.items()
    ]


def undo(card: Card, outcome: Outcome) -> None:
    """Put back what this pass wrote, the last first. A failure here is logged; the rest goes on."""
    outcome.undone = bool(outcome.made)
    backwards = [
        replace(
            c,
            before=c.after,
            after=c.before,
            disruptive=card.tunables[c.tunable].disruptive(c.key, c.after, c.before),
        )
        for c in reversed(outcome.trail)
        if c.before is not None
    ]
    allowed, withheld = card.withhold(backwards)
    for change in withheld:
        fields = about(FAILURE, change, "the policy forbids to undo it")
        log.error("Cannot undo %s: the policy forbids it, going on", change, extra=fields)
    groups = _groups(card, allowed)
    # once more what shows only when all queues are open again that this pass closed
    last = [group for group in groups if card.tunables[group[0].tunable].outlasts(group[0].key)]
    for group in (*groups, *last):
        tunable = card.tunables[group[0].tunable]
        try:
            view = card.view()
            found = tunable.read(view)
            values = {change.key: change.after for change in group}
            there = {
                key: value
                for key, value in values.items()
                if (key in found and not tunable.same(key, values, found))
                or (key not in found and tunable.fresh is ABSENT and value is not ABSENT)
                or (key not in found and tunable.makes(key, found))
            }
            if there:
                tunable.write(view, found, there)
            if any(tunable.stale(key) == CARD for key in there):
                card.refresh()
        except NetunedError as error:
            for change in group:
                made = _forwards(change)
                fields = about(FAILURE, made, f"not undone: {error}")
                log.error("Cannot undo %s: %s, going on", made, error, extra=fields)
    outcome.made.clear()


def _forwards(change: Change) -> Change:
    return replace(change, before=change.after, after=change.before or change.after)
