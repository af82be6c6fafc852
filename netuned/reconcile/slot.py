"""A card's place in the reconcile loop: what is to be looked at, and what the last look gave.

What is wanted (``Aim``) is replaced as a whole. All else is run state, which nothing but the slot's
own methods changes; each is named for what happened.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from netuned.errors import KernelError, NetunedError
from netuned.hardware.nic import Nic
from netuned.plan import Change, merged
from netuned.profiles.profile import Profile
from netuned.reconcile.aim import Aim, Look
from netuned.reconcile.apply import Recorder
from netuned.reconcile.card import NOTHING_HELD, Card
from netuned.reconcile.contention import Gate
from netuned.reconcile.dispute import Dispute, Place
from netuned.reconcile.hold import Hold
from netuned.reconcile.listener import Listener
from netuned.reconcile.report import Contention, card_state, lacking, nic_status
from netuned.reconcile.saying import (
    say_change,
    say_failure,
    say_in_force,
    say_lacking,
    say_left,
    say_unplanned,
)
from netuned.reconcile.tally import APPLY, DRIFT, PROFILE, RESTORE, ROLLBACK, Tallies
from netuned.reconcile.writing import Outcome
from netuned.status import (
    APPLYING,
    CONTENDED,
    DEGRADED,
    IN_SYNC,
    OBSERVED,
    PARTIAL,
    PAUSED,
    STARTING,
    UNMANAGED,
    Applied,
    NicStatus,
)
from netuned.values import Setting, describe

RETRY_S = 600.0
"""What a driver made something else of is written again so often, but for what drops the link."""

REFUSED_S = 30.0
"""What was refused for another's sake is tried again after this, then twice as long each time up
to ``RETRY_S``: to have fewer queues, others leave them before it and come back after it."""

OFTEN = 20
"""So many events more than twice netuned's own, within ``HEARD_S``, are somebody's in a loop."""
HEARD_S = 0.5
"""After a pass, what others set while it wrote has been told by then."""


class Slot:
    """One card in the loop: what is to be looked at, and what the last look gave."""

    def __init__(self, card: Card, dispute: Dispute, listener: Listener) -> None:
        self.card = card
        self.dispute = dispute
        self.lock = Hold()
        """Held while a worker has the card, or the lookout."""
        self.aim = Aim()
        self.denies = False
        """Whether the profile that is the card's now, in force or not, forbids what drops links."""
        self.adopted_in_pause = False
        """Another profile was adopted while it was paused, which was then no trial."""
        self.recorder: Recorder | None = None
        """Told of changes before they are written, while the card is in a trial that begins."""
        self.task: asyncio.Task[None] | None = None
        self.retry: asyncio.TimerHandle | None = None
        self.gone = False
        self.settled = False
        """All was in force when last looked: what differs from now on is drift."""
        self.failures = 0
        self.last_error = ""
        self.state = UNMANAGED
        self._listener = listener
        self._again: asyncio.TimerHandle | None = None
        self._told: Aim | None = None
        self._instance = card.nic.instance
        self._watched: tuple[Nic, frozenset[str]] | None = None
        self._asked = False
        """The next look is what somebody asks for."""
        self._cause = self._new = PROFILE
        """Why the look under way changes something, and what was not in force before."""
        self._unmet: frozenset[Setting] = frozenset()
        """What has not been in force since it is wanted: to set that repairs nothing."""
        self._lacked: frozenset[str] = frozenset()
        """Tunables that the card could not have when it was last looked at."""
        self._unsettled = False
        """Since it began another thing is wanted than what it is for."""
        self._scope: set[str] | None = None
        """What is marked; None: everything."""
        self._facts = False
        self._first: set[str] = set()
        self._event_at = 0.0
        self._heard: Counter[str] = Counter()
        """How often the kernel told that a tunable was set, by netuned or by others."""
        self._doubtful: set[str] = set()
        self._retried: set[Setting] = set()
        self._forgiven = False
        """What was refused is to be tried again."""
        self._tried_at = time.monotonic()
        self._refused_s = REFUSED_S
        self._lacking: Mapping[str, str] = {}
        """What the card cannot have, and why, as it was last said."""
        self._unseen: str | None = ""
        """Until a look at it came to an end, why none has; then None."""
        self._problem = ""
        self._pending: tuple[Change, ...] = ()
        self._failed = ""
        self._tallies = Tallies()
        self._last_change: Applied | None = None
        self._shown: tuple[tuple[object, ...], NicStatus] | None = None

    @property
    def contended(self) -> tuple[str, ...]:
        """A sentence for each tunable that somebody changes again and again."""
        return self.dispute.sentences(Place(self.card.nic))

    @property
    def pending(self) -> tuple[Change, ...]:
        """What differed in the last look and was left: held, not enforced, or contended."""
        return self._pending

    # What is to be looked at, and when

    @property
    def dirty(self) -> bool:
        return self._scope is None or bool(self._scope)

    def mark(self, tunable: str = "", *, facts: bool = False, event_at: float = 0.0) -> None:
        """Have the next look be at one tunable, or at everything, perhaps with the facts anew."""
        if not tunable:
            self._scope, self._facts = None, self._facts or facts
        elif self._scope is not None:
            self._scope.add(tunable)
        self._event_at = self._event_at or event_at

    def mark_first(self, tunable: str, event_at: float) -> None:
        """As ``mark``, of everything; this is looked at before the facts are read."""
        self._first.add(tunable)
        self.mark(facts=True, event_at=event_at)

    def hear(self, tunable: str) -> None:
        """The kernel tells that a tunable was set, perhaps by netuned."""
        self._heard[tunable] += 1

    def take_look(self) -> Look:
        """What is marked, which is then no longer marked. No worker may have the card.

        After a failure, and while something is put back, only a look at everything tells.
        """
        whole = self._scope is None or self.failures or self.card.restoring
        scope = None if whole else frozenset(self._scope or ())
        first = frozenset(self._first)
        look = Look(scope, self._facts, self._event_at, self._heard.copy(), first)
        self._scope, self._facts, self._first, self._event_at = set(), False, set(), 0.0
        verdicts = self.card.verdicts  # not touched while a worker has the card
        verdicts.doubt(self._doubtful)
        verdicts.forget_accepted(self._retried)
        if self._forgiven:
            self._unmet = self._unmet.union(verdicts.refused)
            verdicts.forget_refusals()
            self.card.forgive()
        self._doubtful, self._retried, self._forgiven = set(), set(), False
        return look

    def begin(self, looks: asyncio.Task[None]) -> None:
        """Looks at the card have begun."""
        self.task = looks

    def end(self) -> None:
        """They have ended."""
        self.task = None
        self.worked()

    def worked(self) -> None:
        """Who has had the card has not any more: looks, a worker outside of one, or the lookout."""
        if self.gone and self.task is None and self.lock.take():  # else another reads its files
            self.card.close()
            self.lock.give()

    def wait(self, wait_s: float, then: Callable[[], None]) -> None:
        """Look at nothing of the card until then, but by request."""
        self.end_wait()
        self.retry = asyncio.get_running_loop().call_later(wait_s, then)

    def end_wait(self) -> None:
        """Forget that a retry was to be waited for."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None

    def look_again(self, wait_s: float, then: Callable[[], None]) -> None:
        """Have another look by then, whatever comes before; asked for twice it is one."""
        if self._again is None or self._again.when() <= asyncio.get_running_loop().time():
            self._again = asyncio.get_running_loop().call_later(wait_s, then)

    def leave(self) -> None:
        """The card is not here any more."""
        self.gone = True
        self.end_wait()
        if self._again is not None:
            self._again.cancel()
        self.dispute.close()
        self.worked()

    def watch(self, nic: Nic, tunables: frozenset[str]) -> bool:
        """These are watched from now on. Says whether the card as it is, or others, were not."""
        before, self._watched = self._watched, (nic, tunables)
        return before is None or before[0] is not nic or before[1] != tunables

    # What is wanted

    @property
    def aimed(self) -> bool:
        """Whether the card was told what is wanted of it, and nothing has changed since."""
        return self._told is not None and self._told.wants_as(self.aim)

    @property
    def is_another(self) -> bool:
        """Whether its ifindex is another card's now than the one that the aim is for."""
        return self.card.nic.instance != self._instance

    def leaves(self, tunable: str) -> bool:
        """Whether what differs of a tunable is told and not set."""
        target = self.aim.target
        return tunable in self.aim.held or (target is not None and not target.enforces)

    @property
    def roundings_due(self) -> bool:
        """Whether it is time for ``retry_roundings``."""
        return time.monotonic() - self._tried_at >= RETRY_S

    def retry_roundings(self) -> bool:
        """Now and then, write again what came out otherwise, but for what drops the link.

        Says whether there is such.
        """
        if not self.roundings_due:
            return False
        self._tried_at = time.monotonic()
        return self._try_again(disruptive=False)

    def look_for_refused(self, then: Callable[[], None]) -> None:
        """Have what was refused for now tried again, later each time."""
        if not self.card.nic.kept:
            self._refused_s = REFUSED_S
            return

        def again() -> None:
            self._refused_s = min(self._refused_s * 2, RETRY_S)
            self.card.forgive()
            then()

        self.look_again(self._refused_s, again)

    def _try_again(self, *, disruptive: bool) -> bool:
        """Have the next look write again what came out otherwise. Says whether there is such."""
        if settings := self.card.came_out(disruptive=disruptive):
            self._retried |= settings
            self.aim_anew(settled=False)
        return bool(settings)

    def adopt(self, aim: Aim) -> None:
        """Follow another aim; a trial that begins decides by itself what is left alone."""
        before, self._instance = self.aim, self.card.nic.instance
        if before.digest != aim.digest:
            self._try_again(disruptive=True)
        target = before.target if aim.target == before.target else aim.target
        held = aim.held if self.recorder is None else before.held
        self.aim, self._problem = replace(aim, target=target, held=held), ""
        if target is not before.target:
            self._asked = False  # that was for another
            self._unsettle()
            self.end_wait()

    def follow_policy(self, profile: Profile | None) -> None:
        """Write from now on only what this profile lets, which may be in force later or never."""
        self.denies = profile is not None and profile.policy.disruptive == "deny"

    def stay(self, profile: str, problem: str) -> None:
        """This profile cannot be planned: what was in force stays in force."""
        if problem != self._problem:
            say_unplanned(self.card.nic, problem)
        self.aim, self._problem = replace(self.aim, profile=profile), problem

    def hold(self, held: Mapping[str, str]) -> None:
        """Leave these tunables alone from now on, and no others."""
        self.aim = replace(self.aim, held=held)

    def told(self, aim: Aim) -> None:
        """The card was told this."""
        self._told = aim

    def aim_anew(self, *, settled: bool = True) -> None:
        """The card is to be told again: its facts, or what it can do, may have changed.

        It is not ``settled`` where it was told something else meanwhile.
        """
        self._told = None
        if not settled:
            self._unsettle()

    def _unsettle(self) -> None:
        self.settled, self._unsettled = False, True

    def ask_again(self) -> None:
        """Somebody asks for all of it now."""
        self._asked = True
        self.forgive()

    def forgive(self) -> None:
        """What was refused may be possible, or quiet."""
        self._forgiven = True
        self.dispute.forget()
        self.aim_anew()
        self._try_again(disruptive=True)

    def changes_profile(self, aim: Aim) -> bool:
        """Whether it has another profile, for profiles were read anew; at the start it has none."""
        before = self.aim.profiles
        anew = before is not None and before is not aim.profiles
        return anew and self.aim.digest != aim.digest

    def note_pause(self, *, adopted: bool) -> None:
        """Whether another profile is adopted in a pause that is not over."""
        self.adopted_in_pause = adopted

    # Trials

    def begin_trial(self, recorder: Recorder) -> None:
        """The next looks are a trial's."""
        self.end_trial()
        self.aim_anew(settled=False)
        self.hold(NOTHING_HELD)
        self.recorder, self.adopted_in_pause, self.last_error = recorder, False, ""

    def end_trial(self) -> str:
        """Its looks are over. Returns why they failed, which is not tried again by itself."""
        error = (self.last_error or "it failed") if self.failures else ""
        self.recorder, self.failures = None, 0
        self.end_wait()
        return error

    # What a look gave

    def set_out(self) -> Gate | None:
        """A look is for what is wanted now. Returns what counts repairs, where all was in force."""
        asked = APPLY if self._asked else PROFILE
        self._new = asked if self.aim.target else RESTORE
        self._cause = DRIFT if self.settled else self._new
        self._asked = self._unsettled = False
        return self.dispute.gate if self.settled else None

    def looked(self, outcome: Outcome, event_at: float) -> None:
        """Remember, log and tell. ``event_at`` is when the event came, on the monotonic clock."""
        self.tell(outcome.made, event_at=event_at)
        nic, held = self.card.nic, self.aim.held
        if outcome.error is not None:
            self._fail(outcome.error, outcome)
            return
        is_new = any(self._cause_of(change) in (PROFILE, APPLY) for change in outcome.made)
        failures = self.failures if self.last_error else 0
        say_in_force(nic, self.aim.profile, failures, new=is_new)
        enforce = self.aim.target is None or self.aim.target.enforces
        if outcome.pending != self._pending and not enforce:
            say_left(nic, "Drift, not repaired", outcome.pending, "policy.enforce is no")
        for name, why in held.items():
            unset = [c for c in outcome.pending if c.tunable == name and c not in self._pending]
            say_left(nic, "Not set", unset, why)
        self.failures, self.last_error, self._failed = 0, "", ""
        self._unseen = None
        scope = outcome.scope
        unseen = [c for c in self._pending if scope is not None and c.tunable not in scope]
        self._pending, self.settled = (*unseen, *outcome.pending), not self._unsettled
        pending = frozenset((change.tunable, change.key) for change in self._pending)
        unmet = pending | self.card.barred.keys()
        self._unmet = unmet & self._unmet if self._cause == DRIFT else unmet
        self._lacked = frozenset(self.card.unsupported)
        self.dispute.follow(Place(nic))
        managed = self.aim.target is not None or self.card.wanted
        self.state = card_state(self.card, self._pending) if managed else UNMANAGED
        if self.dispute.contended:
            self.state = CONTENDED
        before, self._lacking = self._lacking, lacking(self.card) if self.aim.target else {}
        say_lacking(nic, before, self._lacking)

    def observed(self, withheld: tuple[Change, ...]) -> None:
        """A look in a pause, which writes nothing, came to its end."""
        self.card.note_withheld(withheld, None)
        self.failures, self.last_error, self._failed, self._unseen = 0, "", "", None

    def let_go(self) -> None:
        """Nothing is wanted of the card."""
        self._pending, self.last_error, self.state, self._unseen = (), "", UNMANAGED, None
        self.card.close()

    def lost(self, error: KernelError) -> None:
        """The card, or a file of it, was not there: queues come and go, so once is no failure."""
        self._told = None  # what the card was told may have been cut short
        self.failures += 1
        if self._unseen is not None:
            self._unseen = str(error)
        if self.failures > 1:
            self.last_error, self.state = str(error), DEGRADED

    def broke(self, error: Exception) -> None:
        """A bug showed; the card is left alone until somebody asks."""
        self.last_error, self.state = f"internal error: {error!r}; see the log", DEGRADED
        self.aim_anew()
        self.take_look()
        self._watched = None

    def _fail(self, error: NetunedError, outcome: Outcome) -> None:
        """The card cannot be brought into force."""
        self._told = None
        self.failures += 1
        change = outcome.failed
        self._failed = change.tunable if change else ""
        if change:
            self._tallies.failed(change.tunable)
        what = f"{change}: {error}" if change else str(error)
        if what != self.last_error:
            say_failure(self.card.nic, what, change, str(error), undone=outcome.undone)
        self.last_error, self.state, self.settled = what, DEGRADED, False

    def judge(self, outcome: Outcome, look: Look) -> bool:
        """Whether others wrote, too, while something came out otherwise than it was written.

        What they write so often that no try of netuned's shows passes for the driver's doing. It is
        repaired from then on, until it is contended.
        """
        told = {name: times - look.heard.get(name, 0) for name, times in self._heard.items()}
        others = {n for n in outcome.believed if told.get(n, 0) > outcome.requests[n]}
        if others:
            self._doubtful |= others
            self.aim_anew(settled=False)
        often = {n for n in outcome.taken if told.get(n, 0) > OFTEN + 2 * outcome.requests[n]}
        fought = {at for at in self.card.came_out(disruptive=False) if at[0] in often}
        if fought:
            self._retried |= fought
            self.aim_anew()
        return bool(others or fought)

    # What is told

    def tell(self, made: Sequence[Change], cause: str = "", event_at: float = 0.0) -> None:
        """Log and tell changes made; without a cause, by the look that was set out for last."""
        latency_us = int((time.monotonic() - event_at) * 1e6) if event_at else 0
        causes: dict[str, list[Change]] = {}
        for change in made:
            causes.setdefault(cause or self._cause_of(change), []).append(change)
        for why, changes in causes.items():
            writers = self._writers(changes) if why == DRIFT else {}
            for change in merged(changes) if why in (RESTORE, ROLLBACK) else changes:
                self._tell(change, why, writers, latency_us)
            self._listener.changed(self.card.nic.ifindex, why, changes, writers)
            self._last_change = self._tallies.made(changes, why) or self._last_change

    def _cause_of(self, change: Change) -> str:
        """Why the look under way made a change; only what was in force has drifted."""
        is_new = (change.tunable, change.key) in self._unmet or change.tunable in self._lacked
        return self._new if is_new else self._cause

    def _writers(self, changes: Sequence[Change]) -> dict[str, str]:
        """Who made it necessary to repair these, by tunable; empty where that is not known."""
        names, dispute = {change.tunable for change in changes}, self.dispute
        return {name: dispute.writer(name) or dispute.sender(name) for name in sorted(names)}

    def _tell(
        self, change: Change, cause: str, writers: Mapping[str, str], latency_us: int
    ) -> None:
        nic, name = self.card.nic, change.tunable
        if cause != DRIFT:
            say_change(nic, change, cause, often=False)
            return
        # what is fought over is repaired once a minute, and that has been said
        often = name in self.dispute.contended
        say_change(nic, change, cause, writers[name], often=often)
        before, after = (describe(value) or "none" for value in (change.before, change.after))
        self._listener.drift(nic.ifindex, name, change.key, after, before)
        self._listener.repaired(nic.ifindex, name, change.key, after, latency_us)

    def status(self, *, paused: bool, deaf: bool) -> NicStatus:
        """How the card looks to people now; the same object until something changes.

        ``deaf``: nothing tells what is written to files.
        """
        look = self.state, self.last_error, self.settled, self._pending, self._tallies.version
        wanted = self.aim.profile, self.aim.held, self._problem, self._unseen
        waits = self.retry is not None or self.dirty
        run = self.task is None, waits
        key = (paused, deaf, run, look, wanted, self.card.version, self.contended)
        if self._shown is not None and self._shown[0] == key:
            return self._shown[1]
        state, error, held, profile = self.state, self.last_error, self.aim.held, self.aim.profile
        anew, compared = self.card.uncompared, False
        if self._problem:
            state, error = DEGRADED, self._problem
        elif paused and (profile or self.card.wanted):
            state = PAUSED
        elif held and not profile:
            error = error or "; ".join(sorted(set(held.values())))
        elif self.task is not None and profile and not self.settled:
            state = APPLYING
        elif profile and self._unseen is not None and state == UNMANAGED:
            state, error = STARTING, error or self._unseen
        elif waits and profile and not self.settled and state != DEGRADED:
            state = APPLYING
        elif state in (IN_SYNC, PARTIAL, OBSERVED):
            # what it can have may have shown meanwhile
            state, compared = card_state(self.card, self._pending), True
        status = nic_status(
            card=self.card,
            profile=profile,
            state=state,
            contended={
                name: Contention(self.dispute.reason(name), self.dispute.program(name))
                for name in self.dispute.contended
            },
            last_change=self._last_change,
            last_error=error,
            failed=self._failed,
            tallies=self._tallies,
            deaf=deaf,
            paused=paused,
        )
        if compared and (anew or self.card.uncompared):  # a worker may have begun with it since
            return self._as_shown(profile, paused=paused)
        self._shown = key, status
        return status

    def _as_shown(self, profile: str, *, paused: bool) -> NicStatus:
        """As it was before it was told anew what is wanted; what comes of that is not known yet."""
        shown = self._shown[1] if self._shown else None
        nic = self.card.nic
        known = nic.name, profile, paused
        if shown is not None and (shown.name, shown.profile, shown.paused) == known:
            return shown
        return NicStatus(
            ifindex=nic.ifindex,
            name=nic.name,
            driver=nic.driver,
            profile=profile,
            state=APPLYING if profile else self.state,
            altnames=nic.altnames,
            paused=paused,
        )
