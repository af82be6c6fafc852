"""Puts settings of one card back: what was there before a trial, or before netuned.

Everything here blocks and runs in a worker thread, one at a time per card. Unlike a transaction it
goes as far as it can: a setting that cannot be put back keeps none of the others from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import field, replace

from netuned.errors import NetunedError, StateFileError
from netuned.plan import WHY_WITHHELD, Change
from netuned.reconcile.apply import Recorder, reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.confirm import Tried
from netuned.reconcile.undo import undo_of
from netuned.records import dataclass
from netuned.values import Setting, State

log = logging.getLogger(__name__)

Decide = Callable[[Tried], None]
"""Keeps on disk what is about to be put back; may raise StateFileError."""


@dataclass(slots=True)
class PutBack:
    """What was written, what could not be, and what somebody else had changed and so stays.

    ``final`` says that another try would not help: what is left cannot be had any more.
    """

    made: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    foreign: tuple[Setting, ...] = ()
    final: bool = False


def _no_note(card: Card, changes: tuple[Change, ...]) -> None:
    """What a trial changed was on record before it began."""


def put_back(
    card: Card,
    baseline: Baseline,
    states: Mapping[str, State],
    recorder: Recorder | None = None,
    *,
    denies: bool,
) -> PutBack:
    """Bring these tunables of a card to these states, as far as its profile's policy lets.

    Without ``recorder`` they are those from before netuned, and need no record once they are back.
    """
    card.verdicts.forget_refusals(lambda at: at[0] in states)
    card.aim_back(states, denies=denies)
    outcome = reconcile_card(card, baseline, recorder, undoes=False)
    problems = [f"{change}: {error}" for change, error in outcome.unrestored]
    if outcome.error is not None and not problems:
        problems = [str(outcome.error)]
    problems += [f"{change}: {WHY_WITHHELD}" for change in outcome.withheld]
    refused = _refused(card, states)
    final = bool(refused) and not (problems or card.waiting)
    return PutBack(outcome.made, [*problems, *refused], final=final)


def _refused(card: Card, states: Mapping[str, State]) -> list[str]:
    """What of this the card did not take, or something is in the way of."""
    why = {at: why for at, (_, why) in card.verdicts.refused.items()} | dict(card.barred)
    return [
        f"{f'{card.nic.label} {name} {key}'.rstrip()}: not set to {value}, {why[name, key]}"
        for name, state in states.items()
        for key, value in state.items()
        if (name, key) in card.barred or card.verdicts.refuses((name, key), value)
    ]


def restore(card: Card, baseline: Baseline, names: frozenset[str], *, denies: bool) -> PutBack:
    """Put back what was there before netuned; what is back needs no record any more."""
    try:
        card.refresh()
        recorded = baseline.of(card.nic)
        states = {name: state for name, state in recorded.items() if name in names}
        done = put_back(card, baseline, states, denies=denies)
    except NetunedError as error:
        return PutBack([], [str(error)])
    return done


def roll_back(
    card: Card, baseline: Baseline, tried: Tried, decide: Decide, *, denies: bool
) -> PutBack:
    """Put back what a trial found, but for what somebody else has changed since.

    What that is, is decided once and kept before the first write, so that a rollback that is cut
    short goes on where it was. A disk that takes nothing holds it up no longer than that.
    """
    foreign: tuple[Setting, ...] = ()
    try:
        card.refresh()
        if tried.back is None:
            card.aim_back(tried.before, denies=denies)
            card.observe(None)
            undo = undo_of(tried, card.found)
            foreign = undo.foreign
            tried = replace(tried, back=undo.back, foreign=foreign)
            try:
                decide(tried)
            except StateFileError as error:
                log.error("%s, going on", error)
        done = put_back(card, baseline, tried.back or {}, _no_note, denies=denies)
    except NetunedError as error:
        return PutBack([], [str(error)], foreign)
    done.foreign = foreign
    return done
