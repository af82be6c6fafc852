"""A profile that says what a card is now, so that a plan of it has nothing to do.

Each tunable offers words for what was found, the plainest first; the planner tells which of them
come to the same. So what is captured is never more than what a profile can hold.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from itertools import chain

from netuned.errors import UnsupportedError
from netuned.hardware.host import Host
from netuned.hardware.nic import HOST, Nic
from netuned.kernel import Kernel
from netuned.placement.seats import Seats
from netuned.planning import cpuwords
from netuned.planning.planner import plan_host
from netuned.profiles.loader import load
from netuned.profiles.match import PHYSICAL
from netuned.profiles.yamlwriting import dump
from netuned.reconcile import report
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.records import dataclass
from netuned.snapshots import offline
from netuned.tunables import TUNABLES
from netuned.tunables.base import Seen, Tunable, Words

FILE = "captured.yaml"
PATTERN = frozenset("*?[]!")
"""What makes a name a pattern."""


Against = Mapping[tuple[str, str], str]
"""What a profile would change, or cannot have: tunable and key -> one sentence. Without a tunable
it is a mistake, of the profile's key."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is not in a profile, and why: of a tunable a key, or all of it where that is empty."""

    tunable: str
    key: str
    why: str

    @property
    def what(self) -> str:
        return f"{self.tunable} {self.key}".rstrip()


@dataclass(frozen=True, slots=True)
class Captured:
    """A profile's keys and values, and what is not in it."""

    profile: Mapping[str, Words]
    left: tuple[Left, ...]

    def text(self) -> str:
        """As YAML."""
        return dump(self.profile)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What each attempt is planned on; ``whole`` and ``secrets`` as ``Seen`` has them."""

    kernel: Kernel
    host: Host
    nic: Nic
    seats: Seats
    baseline: Baseline
    whole: bool
    secrets: bool


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A profile, and what is against it."""

    profile: Mapping[str, Words]
    against: Against


def capture(
    kernel: Kernel, host: Host, nic: Nic, *, whole: bool = False, secrets: bool = False
) -> Captured:
    """What a card is set to. With ``whole`` also what is as the kernel has it by default.

    So is always, of what netuned set before, what would else be put back. With ``secrets`` also
    the hash key. Raises: KernelError.
    """
    baseline, _ = offline.read_baseline(kernel)
    ground = _Ground(kernel, host, nic, offline.read_seats(kernel), baseline, whole, secrets)
    profile = {"match": [selecting(nic)]}
    said = _Attempt(profile, _against(ground, profile))
    left: dict[str, tuple[Left, ...]] = {}
    for tunable in TUNABLES:
        said, left[tunable.name] = _with(ground, said, tunable)
    for tunable in TUNABLES:
        if left[tunable.name]:  # some can be said once others are: threads where interrupts are
            said, left[tunable.name] = _with(ground, said, tunable)
    return Captured(said.profile, tuple(chain.from_iterable(left.values())))


def selecting(nic: Nic) -> dict[str, str]:
    """What selects this card alone: its name, if that is no pattern, else its MAC address."""
    own = {"mac": nic.mac} if PATTERN & set(nic.name) else {"name": nic.name}
    return own if nic.kind == PHYSICAL else {"kind": nic.kind, **own}


def _with(ground: _Ground, said: _Attempt, tunable: Tunable) -> tuple[_Attempt, tuple[Left, ...]]:
    """What is said already and of a tunable what can be, and what cannot. Raises: KernelError."""
    owed = [why for (name, _), why in said.against.items() if name == tunable.name]
    try:
        seen = _seen(ground, tunable, whole=ground.whole or bool(owed))
    except UnsupportedError:  # the card has none
        return said, ()
    left: dict[str, str] = {}
    why = next(iter(owed), "")  # it would be put back if nobody named it
    for words in tunable.captured(seen):
        if isinstance(words, UnsupportedError):
            left[words.what] = words.why
            continue
        found, dropped = _fitting(ground, said, tunable, words, left)
        if found is not None:
            now = words if isinstance(words, dict) else {}
            kept = {key: one for key, one in left.items() if key not in now}
            said, left, why = found, kept | dropped, ""
            break
        why = next(iter(dropped.values()))
    if why:
        left[""] = why
    return said, tuple(Left(tunable.name, key, why) for key, why in left.items())


def _seen(ground: _Ground, tunable: Tunable, *, whole: bool) -> Seen:
    """Raises: UnsupportedError, KernelError."""
    nic, topology = ground.nic, ground.host.topology
    card = Card(ground.kernel, nic, (tunable,))
    try:
        card.know(ground.baseline)
        view = card.view()
        return Seen(
            nic,
            tunable.read(view),
            tunable.limits(view),
            len(topology.online),
            ground.host.default_affinity & topology.online or topology.online,
            partial(cpuwords.exactly, topology, nic),
            partial(cpuwords.around, topology, nic),
            ground.kernel.files,
            whole,
            ground.secrets,
        )
    finally:
        card.close()


def _fitting(
    ground: _Ground, said: _Attempt, tunable: Tunable, words: Words, left: Collection[str]
) -> tuple[_Attempt | None, dict[str, str]]:
    """With these words, or of several keys those that hold; and what does not hold, and why."""
    tried = _tried(ground, said, tunable, words)
    wrong = _wrong(said, tried, tunable, left)
    if wrong and tunable.by_key and isinstance(words, dict) and wrong.keys() < words.keys():
        words = {key: value for key, value in words.items() if key not in wrong}
        tried = _tried(ground, said, tunable, words)
        if not _wrong(said, tried, tunable, left):
            return tried, wrong
    return (None, wrong) if wrong else (tried, {})


def _tried(ground: _Ground, said: _Attempt, tunable: Tunable, words: Words) -> _Attempt:
    """Where several tunables have words below one key of a profile, beside what is there."""
    place = _place(tunable)
    if tunable.captured_in or isinstance(said.profile.get(place), dict):
        beside = (tunable.captured_beside,) if tunable.captured_beside else ()
        assert isinstance(words, dict)
        there = said.profile.get(place, {})
        assert isinstance(there, dict)
        words = {**dict(beside), **there, **words}
    profile = {**said.profile, place: words}
    return _Attempt(profile, _against(ground, profile))


def _place(tunable: Tunable) -> str:
    return tunable.captured_in or tunable.name


def _wrong(
    said: _Attempt, tried: _Attempt, tunable: Tunable, left: Collection[str]
) -> dict[str, str]:
    """What is against new words: by the tunable's keys, and of others what they disturb.

    Not what was so before of keys that are ``left`` out, which is told.
    """
    wrong = {}
    for (name, key), why in tried.against.items():
        if name == tunable.name:
            told = any(key == one or key.endswith(f" {one}") for one in left)
            if not (told and said.against.get((name, key)) == why):
                wrong[key] = why
        elif not name:
            wrong[key.removeprefix(f"{_place(tunable)}.")] = why
        elif (name, key) not in said.against:
            wrong[f"{name} {key}"] = why
    return wrong


def _against(ground: _Ground, profile: Mapping[str, Words]) -> Against:
    dropped = {FILE: dump(profile).encode()}
    loaded = load((), possible=ground.host.topology.possible, dropped=dropped)
    if loaded.errors:
        return {("", error.key): error.problem for error in loaded.errors}
    desired = plan_host(loaded.profiles, ground.host, ground.seats)
    if problems := [p.message for p in desired.problems if p.ifname in ("", ground.nic.name)]:
        return {("", ""): problems[0]}
    found: dict[tuple[str, str], str] = {}
    known = (ground.host, desired)
    for look in offline.looks(ground.kernel, loaded, known, ground.baseline):
        if look.card.nic is HOST or look.card.nic.ifindex != ground.nic.ifindex:
            continue
        found |= {(name, ""): why for name, why in report.lacking(look.card).items()}
        changes = (*look.changes, *look.withheld)
        found |= {(change.tunable, change.key): str(change) for change in changes}
    return found
