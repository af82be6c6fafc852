"""What D-Bus, ``--json`` and the terminal show: plain frozen data, made by the reconcile loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from netuned.records import dataclass

IN_SYNC = "in-sync"
"""All that the profile names reads back as the profile says."""
STARTING = "starting"
"""Not looked at yet; of the manager: what is there and what is wanted is not known in full yet."""
APPLYING = "applying"
DRIFTED = "drifted"
CONTENDED = "contended"
DEGRADED = "degraded"
OBSERVED = "observed"
PARTIAL = "partial"
"""A part of what the profile says is withheld or cannot be had; the rest is in sync."""
UNMANAGED = "unmanaged"
NOT_RUNNING = "not-running"
"""The manager's state only: the daemon does not run, and what is told is a look without it."""
PAUSED = "paused"
UNSUPPORTED = "unsupported"
"""A setting's state only: this card or kernel has no such feature."""
WAITING = "waiting"
"""A setting's state only: something that is bound to a queue needs it as it is until it ends."""
WITHHELD = "withheld"
"""A setting's state only: the profile's policy forbids the write."""

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
"""States of a card or a setting that is not as its profile says, or not known to be."""

CARD_STATES = (
    *(IN_SYNC, PARTIAL, APPLYING, STARTING, DRIFTED, CONTENDED, DEGRADED),
    *(OBSERVED, PAUSED, UNMANAGED),
)

AT_ONCE, POLLED, RESYNCED = "at once", "every 3 s", "every 30 s"
"""When somebody else's change is seen: as an event tells of it; when the setting is read for that
alone, or with everything else (the resync, which comes up to a tenth sooner or later)."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue: ``kind`` rx or tx, CPU sets as cpulists, ``irq`` -1 where it has none."""

    kind: str
    index: int
    irq: int = -1
    cpus: str = ""
    rps: str = ""
    xps: str = ""
    qdisc: str = ""


Values = Mapping[str, object]
"""One tunable's values for programs, by key, as :func:`netuned.valuejson.typed` makes them.

The key is empty for the whole card; None is what is not there.
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """A change netuned made. ``at`` is seconds since the epoch."""

    at: float
    tunable: str
    key: str
    before: str
    after: str
    cause: str
    before_value: object = None
    after_value: object = None


@dataclass(frozen=True, slots=True)
class SettingStatus:
    """One tunable of one card or of the host: wanted, found, a state, and a reason if there is one.

    ``wanted`` and ``found`` are text, the values the same for programs. Since the daemon started,
    ``writes`` are the changes made that stayed, ``repairs`` those of them that somebody else's
    change called for, ``failures`` the looks that ended because a write failed. ``seen`` is when a
    change by somebody else is seen; what no event tells of is seen at the resync all the same.
    ``writer`` is the systemd unit or the program that changes what is contended, if that is known.
    ``since`` is when it got into its state, in seconds since the epoch, as far as the daemon has
    seen; 0 while it is on its way to another, and where that is not known.
    """

    tunable: str
    state: str
    wanted: str = ""
    found: str = ""
    reason: str = ""
    wanted_values: Values = field(default_factory=dict, hash=False)
    found_values: Values = field(default_factory=dict, hash=False)
    writes: int = 0
    repairs: int = 0
    failures: int = 0
    last_change: Applied | None = None
    seen: str = ""
    since: float = 0.0
    writer: str = ""


@dataclass(frozen=True, slots=True)
class NicStatus:
    """One card. ``profile`` is empty when no profile matches it (state ``unmanaged``).

    ``through`` names the cards an upper one is tuned through; its state is the worst of theirs.
    ``altnames`` are alternative names, ``since`` is as a setting's. ``drops`` are what a card that
    no profile is for has dropped since its driver is there, by the kernel's names. ``paused``: it
    is left alone until it is resumed, also where no profile is for it and its state is another.
    """

    ifindex: int
    name: str
    driver: str
    profile: str
    state: str
    queues: tuple[QueueStatus, ...] = ()
    settings: tuple[SettingStatus, ...] = ()
    last_change: Applied | None = None
    last_error: str = ""
    through: tuple[str, ...] = ()
    altnames: tuple[str, ...] = ()
    since: float = 0.0
    drops: Mapping[str, int] = field(default_factory=dict)
    paused: bool = False


@dataclass(frozen=True, slots=True)
class ProfileStatus:
    """A loaded profile. ``cards`` are the names of the cards it is in force on.

    ``digest`` is the same on each host where it says the same, with all that it extends.
    """

    name: str
    path: str
    description: str
    priority: int
    template: bool
    cards: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ManagerStatus:
    """The daemon and the host as a whole. ``settings`` are the host's own (irqbalance, flows)."""

    version: str
    state: str
    profiles: tuple[ProfileStatus, ...] = ()
    profile_errors: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """With netuned's own files (``netuned.yaml``, and what it keeps of the state before) and with
    inotify, and why the host's settings could not be brought into force."""
    conflicts: tuple[str, ...] = ()
    pending_confirm: str = ""
    settings: tuple[SettingStatus, ...] = ()
    writes: int = 0
    """Kernel writes made since the daemon started."""
    loaded_at: float = 0.0
    """When the profiles were read last, in seconds since the epoch; 0 without the daemon."""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything, as one immutable value."""

    manager: ManagerStatus
    nics: tuple[NicStatus, ...] = field(default=())


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
