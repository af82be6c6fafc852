"""The contract of a tunable: all that is particular to one setting of a card, in one declaration.

Nothing outside this package knows a tunable by name. What the rest needs to know of it (what its
keys and values are, how it is read and written, what comes before it, what tells of a change, who
else sets it, how it reads in a status line) it declares here; most of that has a default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import TypeVar

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.topology import Topology
from netuned.kernel import Kernel
from netuned.kernel.files import FileTree, KeptFiles
from netuned.kernel.netdev import Bound
from netuned.kernel.once import Once
from netuned.kernel.questions import Question
from netuned.placement.objective import Places
from netuned.profiles.profile import Profile
from netuned.records import dataclass
from netuned.values import ChannelCounts, Setting, State, Value, describe

A = TypeVar("A")

Limits = Mapping[str, int]
"""What the hardware has at most, by the tunable's own names."""

NO_LIMITS: Limits = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Boot:
    """What was there before netuned, as a profile's ``default`` where the kernel has none."""


BOOT = Boot()

Wanted = Mapping[str, Value | UnsupportedError | Boot]
"""What a profile wants of one tunable: key -> value, or why this card cannot have that."""

NOT_ASKED = "as it was before netuned"
"""Why a setting that no profile names is set."""


@dataclass(frozen=True, slots=True)
class View:
    """How a tunable looks at one card: its facts, kept descriptors, and the answers of a pass.

    ``files`` are at the card's directory in sysfs: what stands there is by relative path this
    card's, whatever its name is meanwhile. ``keys`` are those of a tunable that are wanted, for one
    that has more than can be read. ``own`` are those, of a tunable whose keys come and go, that
    netuned's record has as not there before, and that are found, or were at the last look.
    """

    kernel: Kernel
    nic: Nic
    kept: KeptFiles
    asked: Once
    keys: Callable[[str], Collection[str]] = lambda tunable: ()
    own: Callable[[str, State], Collection[str]] = lambda tunable, found: ()

    @property
    def files(self) -> FileTree:
        return self.kept.files

    def ask(self, question: Question[A]) -> A:
        """The kernel's answer of this card. Raises: UnsupportedError, KernelError."""
        return self.asked.get(question, self.nic.ifindex)


@dataclass(frozen=True, slots=True)
class Steering:
    """For packets steered in software: ``useful`` are a CPU of each core of the host worth it.

    ``idle`` are those of them whose core serves no card's receive queue.
    """

    useful: CpuSet
    idle: CpuSet


@dataclass(frozen=True, slots=True)
class Target:
    """What one card should be, decided for all cards together.

    ``queue_cpus[n]`` are the CPUs that serve queue *n*; ``pool`` all that would; ``rps_cpus`` and
    ``xps_cpus`` the evaluated sets of the profile, None for ``auto``.
    """

    profile: Profile
    topology: Topology
    channels: ChannelCounts | None
    pool: CpuSet
    queue_cpus: tuple[CpuSet, ...]
    steering: Steering
    rps_cpus: CpuSet | None
    xps_cpus: CpuSet | None
    default_affinity: CpuSet
    places: Places = field(compare=False, repr=False)
    """The topology's, made once for all cards."""
    no_channels: str = ""
    """Why the channels the profile wants cannot be had; the card keeps those it has."""
    thread_cpus: CpuSet | None = None
    """Where NAPI's kernel threads run, all of them; None: each where its queue is served."""
    withheld: ChannelCounts | None = None
    """Channel counts the profile wants and its policy (``disruptive: deny``) forbids to set."""
    crowded: Mapping[int, str] = field(default_factory=dict)
    """Queues whose interrupts stay where they are, for their CPUs have no room; and why."""
    follows: str = ""
    """The cards below whose settings this one has, where it has no profile of its own."""

    def queues(self, nic: Nic) -> ChannelCounts:
        """The queue counts the card will have once its channels are as wanted."""
        return self.channels or ChannelCounts(nic.rx_queues, nic.tx_queues, 0)

    @property
    def denies(self) -> bool:
        """Whether the profile forbids what drops the link."""
        return self.profile.policy.disruptive == "deny"

    @property
    def enforces(self) -> bool:
        """Whether what differs is set, and not only told."""
        return self.profile.policy.enforce == "yes"

    def asks(self, tunable: Tunable) -> bool:
        """Whether a tunable is set by what is wanted."""
        return tunable.asked(self.profile)

    def wanted(self, tunable: Tunable, nic: Nic, limits: Limits) -> Wanted:
        """What of a tunable that is asked for. Raises: UnsupportedError."""
        return tunable.desired(self, nic, limits)

    def why(self, tunable: Tunable, nic: Nic, key: str) -> str:
        """The reason for a value, a clause for plans."""
        return tunable.why(self, nic, key)


@dataclass(frozen=True, slots=True)
class HostTarget:
    """What the host should be, as the cards in force ask, and the reasons: tunable -> key -> value.

    ``conflicts`` are sentences, one for each setting of which profiles want different values.
    """

    values: Mapping[str, Wanted]
    reasons: Mapping[str, Mapping[str, str]]
    conflicts: tuple[str, ...] = ()
    denies: bool = False
    enforces: bool = True

    def asks(self, tunable: Tunable) -> bool:
        """Whether a tunable is set by what is wanted."""
        return tunable.name in self.values

    def wanted(self, tunable: Tunable, nic: Nic, limits: Limits) -> Wanted:
        """What of a tunable that is asked for."""
        return self.values[tunable.name]

    def why(self, tunable: Tunable, nic: Nic, key: str) -> str:
        """The reason for a value, a clause for plans."""
        return self.reasons[tunable.name].get(key, NOT_ASKED)


AnyTarget = Target | HostTarget


@dataclass(frozen=True, slots=True)
class Seen:
    """A card's setting as it is, to be put into a profile's words.

    ``cpus`` is how many CPUs are online. ``sets`` gives expressions for a CPU set, the plainest
    first; ``around`` also such as hold more CPUs. ``files`` are the host's. ``whole``: what is as
    the kernel has it by default is to be said, too; ``secrets``: what root alone may know.
    """

    nic: Nic
    state: State
    limits: Limits
    cpus: int
    default_affinity: CpuSet
    sets: Callable[[CpuSet], Iterable[str]]
    around: Callable[[CpuSet], Iterable[str]]
    files: FileTree
    whole: bool = False
    secrets: bool = False


Words = object
"""What stands below a tunable's key in a profile: words, numbers, lists, mappings."""


@dataclass(frozen=True, slots=True)
class Writers:
    """How whoever else writes a setting is found.

    ``files`` are how the paths of a key's files end, none where it is no file. ``hint`` says how a
    person finds out; empty: what there is to say of any file. ``link``, ``tuned`` and
    ``network_manager`` are the keys by which those programs set it, ``google`` whether
    google_set_multiqueue does, ``bpftune`` whether that may. A key of TuneD's is plugin.option.
    """

    files: Callable[[Nic, str], tuple[str, ...]] = lambda nic, key: ()
    hint: str = ""
    link: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Key of systemd.link(5) -> the tunable's own in a profile, empty where it has none like it."""
    tuned: frozenset[str] = frozenset()
    network_manager: tuple[str, ...] = ()
    """Globs of section.key."""
    google: bool = False
    bpftune: bool = False
    irqbalance: bool = False
    sysctl: Callable[[str, Value, str], bool] | None = None
    """Whether a text that sysctl.d(5) gives a key says otherwise than the wanted value; None where
    keys are no sysctls."""


Queue = tuple[str, int]
"""``rx`` or ``tx``, and its number."""

NOTHING, OWN, CARD = "nothing", "own", "card"
"""What a write makes stale: nothing else, other settings of the tunable that need it, all."""

QDISC_EVENT = "qdisc"
"""Rtnetlink's notification of qdiscs; the others are ethtool's."""

Watched = tuple[str, str]
"""A file whose writes tell of a change: its directory, from the card's own, and its name."""


def _unwatched(nic: Nic, /) -> Iterator[Watched]:
    return iter(())


def _equal(key: str, wanted: State, found: State, /) -> bool:
    return wanted[key] == found[key]


def exactly(key: str, wanted: Value, found: Value, /) -> bool:
    return wanted == found


def _summary(state: State) -> str:
    """What is common, or each different value with its count."""
    if set(state) == {""}:
        return str(state[""])
    texts = Counter(describe(value) for value in state.values())
    if len(texts) <= 3:
        return ", ".join(f"{text} ×{n}" if n > 1 else text for text, n in texts.items())
    words = [describe(value) for value in state.values()]
    return " ".join(words[:8]) + (f" … ({len(words)})" if len(words) > 8 else "")


def keyed_summary(state: State) -> str:
    """For tunables whose keys say what each is: ``rx-usecs 50, adaptive-rx off``."""
    return ", ".join(f"{key} {describe(value)}".rstrip() for key, value in state.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunable:
    """One tunable. ``name`` is its key in profiles, plans and status.

    What it is: ``holds`` are the types of its values, ``accepts`` says whether a text is a key of
    its. ``fresh`` is what a key that was not there before is put back to where it has to stay (a
    queue that came with more channels): ABSENT where it goes again, None where nothing is known.

    The kernel: ``read`` and ``limits`` ask it, ``write`` writes a group of settings in one request
    (``group``: those with an equal answer go together). All three raise UnsupportedError and
    KernelError; one whose ``attribute`` is a key of the group refuses that one alone.

    The profile: ``desired`` is what it wants of a card. Where ``by_key`` it names each key by
    itself, and one that it no longer names is put back; else it names all or none. What is wanted
    of the host's tunables ``HostTarget`` says, where they have it by ``gathered`` from the profiles
    in force, that of the highest priority first.
    """

    name: str
    holds: tuple[type[Value], ...]
    read: Callable[[View], State]
    write: Callable[[View, State, State], None]
    accepts: Callable[[str], bool] = lambda key: not key
    desired: Callable[[Target, Nic, Limits], Wanted] = lambda target, nic, limits: {}
    why: Callable[[Target, Nic, str], str] = lambda target, nic, key: ""
    section: Callable[[Profile], object] | None = None
    """What a profile says of it, None where nothing; without this it is the section of its name."""
    gathered: Callable[[Sequence[Profile]], HostTarget | None] | None = None
    limits: Callable[[View], Limits] = lambda view: NO_LIMITS
    limits_change: bool = False
    """Whether the limits may be others by the next time that something is wanted of the card."""
    by_key: bool = False
    fresh: Value | None = None
    group: Callable[[str], str] = lambda key: key

    same: Callable[[str, State, State], bool] = _equal
    """Whether what is found under a key is what the wanted value becomes in this kernel."""
    within: Callable[[str, Value, Value], bool] = exactly
    """Whether what was read after a value was written can be what became of it.

    ``same`` says what is known beforehand; this, what a driver or the kernel may do besides.
    """
    short: Callable[[str, Value, Value], str] = lambda key, wanted, found: ""
    """What is missing, where less was had than wanted; empty where that is only a rounding."""
    allows: Callable[[Value], bool] = lambda wanted: False
    """Whether other values are as wanted, too: what is found is then on record only once it is to
    be changed, for until then others may set it."""
    gives_way: Callable[[Value], bool] | None = None
    """Whether a wanted value is left to another program once that sets another."""
    recorded: Callable[[Nic, Value], Value] = lambda nic, value: value
    """What to put back for a value that was found before the first write."""
    obstacles: Callable[[View, State, State], Mapping[str, str]] = lambda view, found, values: {}
    """Of values that are about to be written, those that must not be, and why: what their write
    removes could not be put back, or the kernel turns out to lack what they name. It is asked only
    where something differs, and may ask the kernel. Where the limits change, what is wanted is then
    looked for anew. Raises: KernelError."""

    disruptive: Callable[[str, Value | None, Value], bool] = lambda key, before, after: False
    """Whether a write drops the link, given what was there before and what comes."""
    stale: Callable[[str], str] = lambda key: NOTHING
    """What a write of a key makes stale: ``NOTHING``, ``OWN`` or ``CARD``."""
    needs: Callable[[str], tuple[Setting, ...]] = lambda key: ()
    """The settings without which a key cannot be set, or which it must fit."""
    loses: Callable[[State, str], Iterable[str]] = lambda found, key: ()
    """Other keys of the tunable whose present values a write of a key takes away."""
    waits: Callable[[str, State, State], bool] = lambda key, recorded, wanted: False
    """Whether a key that is on record is not put back while others are wanted: these took its value
    away, or stand in its place."""
    instead: Callable[[State, State], State] = lambda wanted, found: {}
    """By wanted keys that are not found, what is there in their place, and goes when they come."""
    makes: Callable[[str, State], bool] = lambda key, found: False
    """Whether a key that is not found can be put back all the same, with what is found."""
    closes: Callable[[Value | None, Value], frozenset[Queue]] = lambda before, after: frozenset()
    """The queues that a write ends, by what was there before and what comes."""
    ground: (
        Callable[[str, Value | None, Value, Bound, Mapping[str, State]], Iterable[Queue]] | None
    ) = None
    """Of the queues that something is bound to, those of which a write would take away what that
    needs, by what was there before and what comes, and what was found of all tunables: it waits
    until they are free. None where no value does."""
    place: Callable[[str], str] = lambda key: key
    """What of a card a key is about: of those with a number and a checksum that is the number."""
    rests_on: Callable[[Value], tuple[str, str] | None] = lambda value: None
    """The tunable and the place of what has to be there for a value to be set; None: nothing."""
    ends_with: Callable[[str], Queue] | None = None
    """The queue that takes a key's value away when it ends, whoever set that; None where all of
    them stay."""
    outlasts: Callable[[str], bool] = lambda key: False
    """Whether the kernel makes a key's value for the queues that are open then: what is on record
    of it stays there until all are open again that netuned closed."""
    yields: Callable[[State, State], bool] = lambda wanted, found: False
    """Whether the change ends what others still name, so that those leave it first."""
    leaves: tuple[str, ...] = ()
    """The tunables before which it is to be set where they ``yield``."""
    precedes: Callable[[State, State], Collection[str]] = lambda wanted, found: ()
    """The tunables that need the change made before theirs, wherever its own place is."""
    fits: Callable[[Mapping[str, State]], bool] = lambda states: True
    """Whether its state goes together with those of the others, among which it is."""
    stands: Callable[[Target, Nic, Value | None], Target] | None = None
    """The target that the rest is planned for where this setting comes out as a value (None: as it
    is now), not as wanted."""

    events: frozenset[str] = frozenset()
    """The kernel's notifications that tell of a change."""
    silent: Callable[[Kernel], bool] = lambda kernel: False
    """Whether this kernel has none of them: then what is there is read every few seconds. Raises:
    KernelError."""
    watched: Callable[[Nic], Iterator[Watched]] = _unwatched
    """The files whose writes, by whomever, tell of a change."""
    watched_by_key: Callable[[str], Iterable[Watched]] | None = None
    """The same for each key that is wanted, where the card does not tell which there are."""
    writers: Writers = Writers()  # frozen

    summary: Callable[[State], str] = _summary
    """Its line in status."""
    refusals: Callable[[Nic], Mapping[str, str]] = lambda nic: {}
    """The keys that cannot be set as the card's facts say, and why."""
    declines: Callable[[KernelError], bool] = lambda error: False
    """Whether an error means that the kernel does not let a value be set as things are, and the
    rest can be had without it; else the write has failed."""
    learn: Callable[[Kernel, Nic, str, Value, str], Nic] = lambda kernel, nic, key, value, why: nic
    """The card with what the refusal of a key's value tells of it; as it is where that is no such
    fact."""
    facts: Callable[[Nic], object] = lambda nic: None
    """The facts that its keys are of: when they change, what was refused may be possible."""
    column: str = ""
    """Its name in a queue's record."""
    queues: Callable[[Nic, State], Mapping[Queue, str]] = lambda nic, state: {}
    """What of it is each queue's, as text; queues of which there is nothing are left out."""
    upgrade: Callable[[Mapping[str, object]], Mapping[str, object]] = lambda state: state
    """A recorded state as an earlier version wrote it, in the present form."""
    explained: Callable[[State, int], tuple[str, str | None, object]] | None = None
    """For ``explain``: the key that a queue's reason is of, and its value as text (None: it has
    none) and for programs."""
    in_table: bool = False
    """Whether ``explain`` has a column for it."""
    receives: bool = False
    """Whether it is of receive queues only, by ``explained`` of no other."""

    awaited: Callable[[str, State, State], str] = lambda key, wanted, found: ""
    """Why a value that is not as wanted was set and only does not show yet; empty if it was not."""
    captured: Callable[[Seen], Iterator[Words | UnsupportedError]] = lambda seen: iter(())
    """What a profile might say so that all stays as it is, the plainest first; nothing of what
    needs no word. Whether it does is for the planner to tell. What none of the words that follow
    say comes before them, with the reason."""
    captured_in: str = ""
    """The key of a profile below which its words stand, where that is not its name."""
    captured_beside: tuple[str, str] | None = None
    """A key there, and its value, that keeps the others as they are that have words there, where
    those say nothing."""
    stirs: bool = False
    """Whether setting it, of the host, may change settings of cards without an event."""

    @property
    def is_watched(self) -> bool:
        """Whether it is files that tell of a change."""
        return self.watched is not _unwatched or self.watched_by_key is not None

    def marks(self, keys: Iterable[str]) -> Iterator[str]:
        """What is to be watched of these keys: its name, or ``name key`` for each."""
        by_key = self.watched_by_key is not None
        return (f"{self.name} {key}" for key in keys) if by_key else iter((self.name,))

    def marked(self, nic: Nic, mark: str) -> Iterator[Watched]:
        """The files of what is to be watched."""
        key = mark.partition(" ")[2]
        return iter(self.watched_by_key(key)) if self.watched_by_key else self.watched(nic)

    def asked(self, profile: Profile) -> bool:
        """Whether a profile sets it."""
        said = self.section(profile) if self.section else getattr(profile, self.name, None)
        return said is not None
