"""One card's transaction: observe, compare, write, read back; undo in reverse when a write fails.

Everything here blocks and runs in a worker thread, one at a time per card.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from netuned.errors import KernelError, NetunedError, UnsupportedError, VerifyError
from netuned.kernel import Kernel
from netuned.plan import Change
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.contention import Gate
from netuned.tunables import BY_NAME, qdisc
from netuned.tunables.base import Qdiscs

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Writes of one setting in one pass before its read-back is called wrong."""

ROUNDS = 12
"""Observations in one pass; channels, root qdisc and their read-backs take five."""


@dataclass(slots=True)
class Outcome:
    """What a pass did: changes made, those left (``enforce: no``, contended), and the error.

    ``scope`` is what it looked at in the end; None: everything.
    """

    scope: frozenset[str] | None = None
    made: list[Change] = field(default_factory=list)
    pending: tuple[Change, ...] = ()
    failed: Change | None = None
    error: NetunedError | None = None
    undone: bool = False
    """Whether changes were made before the error, and put back."""
    settled: bool = False
    """Whether the card is as wanted, and an error came only after that."""


Tries = Callable[[Card, tuple[Change, ...]], None]
"""Told of changes before they are written; runs in the worker."""


def sweep(kernel: Kernel, cards: Iterable[Card]) -> list[Card]:
    """Look at all cards with one dump of qdiscs; those that differ, or cannot be read.

    Reads only. Raises: KernelError when there is no dump.
    """
    cards = list(cards)
    qdiscs = kernel.rtnl.qdiscs() if any("qdisc" in card.wanted for card in cards) else {}
    differing = []
    for card in cards:
        try:
            if card.differences(card.observe(None, _given(qdiscs))):
                differing.append(card)
        except KernelError:
            differing.append(card)
    return differing


def plan_card(card: Card) -> tuple[Change, ...]:
    """What a pass would write now, without writing. Raises: KernelError."""
    card.observe(None, card.kernel.rtnl.qdiscs)
    return card.differences(set(card.wanted))


def reconcile_card(
    card: Card,
    baseline: Baseline,
    scope: frozenset[str] | None = None,
    repairs: Gate | None = None,
    tries: Tries | None = None,
    *,
    keep: bool = False,
) -> Outcome:
    """Bring one card to what is wanted of it, as one transaction.

    ``scope`` limits the look to these tunables, as long as none restructures the card. With
    ``repairs`` all was in force before: what differs was changed by somebody, and what is
    changed too often is left for later. ``tries`` is told each round's changes before they are
    written, and refuses them by raising. With ``keep`` what was written stays if a write fails.
    """
    outcome = Outcome(scope)
    try:
        _reconcile(card, baseline, repairs, tries, outcome)
    except NetunedError as error:
        outcome.error = error
        gone = isinstance(error, KernelError) and error.gone
        if not (keep or gone or outcome.settled):
            _undo(card, outcome)
    return outcome


def _reconcile(
    card: Card,
    baseline: Baseline,
    repairs: Gate | None,
    tries: Tries | None,
    outcome: Outcome,
) -> None:
    enforce = card.target is None or card.target.profile.policy.enforce == "yes"
    attempts: Counter[tuple[str, str]] = Counter()
    for _ in range(ROUNDS):
        look = _once(card.kernel.rtnl.qdiscs)
        changes = card.differences(card.observe(outcome.scope, look))
        if not enforce:
            outcome.pending = changes
            return
        if _irreplaceable(card, baseline):
            continue
        # All that a profile names, not only what is about to be written: what somebody else
        # changes later, and netuned then repairs, was never the state before netuned.
        baseline.record(card.nic, card.managed_states(), card.wanted)
        alone = tuple(change for change in changes if change.tunable in card.held)
        changes = tuple(change for change in changes if change.tunable not in card.held)
        outcome.pending = (*alone, *(repairs.held(changes) if repairs else ()))
        changes = tuple(change for change in changes if change not in outcome.pending)
        if not changes:
            # While it may be rolled back, what was there before netuned is still needed.
            if outcome.scope is None and not outcome.pending and tries is None:
                outcome.settled = True
                _settle(card, baseline)
            return
        if repairs is None and _accept(card, changes, attempts, outcome):
            card.aim_again()  # fewer channels than wanted have fewer queues
            continue
        if tries:
            tries(card, changes)
        if _write(card, changes, look, repairs, outcome):
            outcome.scope = None
            card.refresh()
            card.aim_again()
    if repairs:  # somebody is as quick: what is left differs again, and the next look sees it
        outcome.pending += changes
        return
    raise VerifyError("the card", "a settled state", "new differences in every round")


def _accept(
    card: Card, changes: tuple[Change, ...], attempts: Counter[tuple[str, str]], outcome: Outcome
) -> bool:
    """Before settings are written again: say whether some are taken as they were read back.

    The second try tells what the kernel makes of a value from what somebody wrote meanwhile; one
    that drops the link is not made twice for that. Raises: VerifyError.
    """
    written = [c for c in changes if attempts[c.tunable, c.key] >= (1 if c.disruptive else 2)]
    if [change for change in written if card.accept(change)]:
        return True
    attempts.update((change.tunable, change.key) for change in changes)
    for change in changes:
        if attempts[change.tunable, change.key] > ATTEMPTS:
            outcome.failed = change
            setting = f"{change.tunable} {change.key}".rstrip()
            raise VerifyError(setting, str(change.after), str(change.before))
    return False


def _write(
    card: Card,
    changes: tuple[Change, ...],
    qdiscs: Callable[[], Qdiscs],
    repairs: Gate | None,
    outcome: Outcome,
) -> bool:
    """Write changes in order; says whether one restructured the card and ended the round."""
    view = card.view(qdiscs)
    for change in changes:
        tunable = BY_NAME[change.tunable]
        if repairs:  # one that fails, because somebody else was quicker, counts too
            repairs.repaired(change)
        try:
            tunable.write(view, card.found[change.tunable], change.key, change.after)
        except (UnsupportedError, KernelError) as error:
            if isinstance(error, KernelError) and error.errno != errno.EOPNOTSUPP:
                outcome.failed = change
                raise
            why = error.why if isinstance(error, UnsupportedError) else error.extack or "refused"
            card.give_up(change.tunable, change.key, change.after, why)
            if change.tunable == "channels":  # the rest was planned for the queues to come
                return True
            continue
        outcome.made.append(change)
        card.note_written(change)
        if tunable.restructures(change.key):
            return True
    return False


def _irreplaceable(card: Card, baseline: Baseline) -> bool:
    """Give up tunables whose state before netuned could not be put back. Says if there were any."""
    recorded = baseline.of(card.nic)
    given_up = False
    for name, found in card.managed_states().items():
        why = BY_NAME[name].irreplaceable(found) if name not in recorded else ""
        if why and card.wanted[name]:
            given_up = True
            for key, value in card.wanted[name].items():
                card.give_up(name, key, value, why)
    return given_up


def _settle(card: Card, baseline: Baseline) -> None:
    """After a clean look at everything: what was restored needs no record any more.

    Raises: StateFileError.
    """
    card.remade.clear()
    if card.target and qdisc.NAME in card.managed_states():
        named = qdisc.desired(card.target, card.nic) or {}
        names = {key: qdisc.parameter_names(value) for key, value in named.items()}
        baseline.keep_parameters(card.nic, names)
    done = card.restoring - card.held.keys()
    recorded = baseline.of(card.nic)
    missed = {
        name: why
        for (name, key), (value, why) in card.refused.items()
        if name in done and recorded.get(name, {}).get(key) == value
    }
    missed |= {name: card.unsupported.get(name, "") for name in done - card.found.keys()}
    for name, why in missed.items():
        log.warning("Cannot put back %s %s: %s, keeping its record", card.nic.name, name, why)
    baseline.forget(card.nic, done - missed.keys())
    for name in done:
        card.wanted.pop(name, None)
        card.found.pop(name, None)
    card.restoring -= done


def _undo(card: Card, outcome: Outcome) -> None:
    """Put back what this pass wrote, the last first. A failure here is logged; the rest goes on."""
    card.remade.clear()
    outcome.undone = bool(outcome.made)
    for change in reversed(outcome.made):
        if change.before is None:
            continue
        view = card.view(_once(card.kernel.rtnl.qdiscs))
        tunable = BY_NAME[change.tunable]
        try:
            found = tunable.read(view)
            tunable.write(view, found, change.key, change.before)
            if tunable.restructures(change.key):
                card.refresh()
        except NetunedError as error:
            log.error("Cannot undo %s: %s, going on", change, error)
    outcome.made.clear()


def _once(dump: Callable[[], Qdiscs]) -> Callable[[], Qdiscs]:
    """Dump at most once, and only if some tunable asks."""
    cached: list[Qdiscs] = []

    def look() -> Qdiscs:
        if not cached:
            cached.append(dump())
        return cached[0]

    return look


def _given(qdiscs: Qdiscs) -> Callable[[], Qdiscs]:
    return lambda: qdiscs
