"""Planning without the daemon: for this host, a snapshot of another, or a described machine.

The readers, the planner and the comparison are the daemon's own; only the run-time state of its
loop (paused cards, settings that a card refused) is not known here.
"""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from netuned import statefile
from netuned.cpuset import CpuSet
from netuned.errors import (
    KernelError,
    NetunedError,
    ProfileError,
    SnapshotError,
    StateFileError,
)
from netuned.hardware.host import Host, read_host
from netuned.hardware.namespace import check_namespace
from netuned.hardware.nic import HOST, Nic
from netuned.hardware.topology import read_possible
from netuned.kernel import Kernel
from netuned.kernel.once import Once
from netuned.kernel.recorded import RecordedKernel
from netuned.kernel.recording import MAX_FILE
from netuned.placement.seatfile import parse_seats
from netuned.placement.seats import NOBODY, Seats
from netuned.plan import Change, Lack, Plan, Problem
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import Drop, ProfileSet, load_dropped
from netuned.profiles.loader import load as load_profiles
from netuned.profiles.searchpath import (
    DEFAULT_DIRECTORIES,
    NOT_READ,
    Recorded,
    is_profile,
    shipped_templates,
)
from netuned.profiles.trust import ANYONE, MAX_BYTES, read_trusted
from netuned.reconcile import report
from netuned.reconcile.apply import plan_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.host import host_target, is_left_over, mode_of
from netuned.reconcile.trialfile import NAME as TRIALS
from netuned.reconcile.trialfile import TrialFile
from netuned.records import dataclass
from netuned.snapshots import snapshot
from netuned.snapshots.archive import is_archive, open_regular
from netuned.tunables import TUNABLES, tunables_of
from netuned.tunables.base import AnyTarget, HostTarget, Limits, Tunable

if TYPE_CHECKING:
    from netuned.counters.sample import Sample
    from netuned.planning.explain import LimitsOf

WAITING = f"/var/lib/netuned/{TRIALS}"
STDIN = "stdin.yaml"
"""What standard input is called as a profile."""


def load(path: str | None, directories: Sequence[str] = ()) -> tuple[Kernel, ProfileSet]:
    """A host and its profiles: this one (None), or that of a snapshot or description.

    ``directories`` are used instead of the host's own, whoever owns them: nothing is written.
    Without any, a described machine has the profiles of this host.

    Raises: SnapshotError; ProfileError for a mistake in a description; KernelError.
    """
    kernel, recorded = find_host(path, directories)
    return kernel, load_found(read_possible(kernel.files), recorded, directories)


def load_found(
    possible: CpuSet | None, recorded: Recorded | None, directories: Sequence[str] = ()
) -> ProfileSet:
    """The profiles of a host as ``find_host`` gave it, with ``possible`` as its CPUs if known."""
    return load_profiles(
        tuple(directories) or DEFAULT_DIRECTORIES,
        possible=possible,
        owner=ANYONE if directories else 0,
        recorded=recorded,
    )


def load_counted(path: str) -> tuple[Kernel, tuple[Sample, ...]]:
    """The host of a snapshot, with its two samples if it has them, or of a description.

    Raises: as ``load``.
    """
    kernel, taken = _opened(path)
    return kernel, taken.samples if taken else ()


def load_with(
    files: Sequence[str],
    path: str | None,
    directories: Sequence[str] = (),
    *,
    stdin: str = STDIN,
    gone: Sequence[str] = (),
) -> tuple[Kernel, Drop]:
    """A host, and what its profiles would be with files dropped into the first directory.

    The rest is as for ``load``. A file may be anybody's; ``-`` is standard input, as the file
    ``stdin``. ``gone`` are files of the first directory that count as not there, by name or path.
    Where netuned is not installed the templates that it comes with are found all the same.

    Raises: SnapshotError; KernelError; ProfileError for a mistake in a description, or a file that
    cannot be read or would not be a profile by its name.
    """
    return load_texts(_read_dropped(files, stdin), path, directories, gone=gone)


def load_texts(
    dropped: Mapping[str, bytes],
    path: str | None,
    directories: Sequence[str] = (),
    *,
    templates: bool = False,
    gone: Sequence[str] = (),
) -> tuple[Kernel, Drop]:
    """As ``load_with``, with the contents of files by path.

    With ``templates`` those that netuned comes with are found also where nothing is dropped.
    Raises: SnapshotError; KernelError; ProfileError for a file that is not there to be gone.
    """
    kernel, recorded = find_host(path, directories)
    first = (*directories, *DEFAULT_DIRECTORIES)[0].rstrip("/")
    paths = [os.path.join(first, os.path.basename(file)) for file in gone]
    for missing in itertools.filterfalse(lambda one: _is_there(one, recorded), paths):
        raise ProfileError(missing, 0, 0, "", "there is no such file, so it cannot go")
    last = DEFAULT_DIRECTORIES[-1]
    installed = os.path.isdir(last) if recorded is None else recorded.get(last)
    drop = load_dropped(
        dropped,
        tuple(directories) or DEFAULT_DIRECTORIES,
        possible=read_possible(kernel.files),
        owner=ANYONE if directories else 0,
        recorded=recorded,
        templates=shipped_templates()
        if (dropped or gone or templates) and not (directories or installed)
        else "",
        gone=paths,
    )
    return kernel, drop


def _is_there(path: str, recorded: Recorded | None) -> bool:
    """Whether there is such a file on this host, or was on that of a snapshot."""
    if recorded is None:
        return os.path.lexists(path)
    found = recorded.get(os.path.dirname(path), {})
    return not isinstance(found, ProfileError) and os.path.basename(path) in found


def where_templates_are(
    errors: Sequence[ProfileError], directories: Sequence[str]
) -> tuple[str, ...]:
    """What to do where something is extended that is not in these directories, but comes along."""
    shipped = shipped_templates()
    missing = any(
        "there is no profile " in e.problem for e in errors if e.key.startswith("extends")
    )
    if not (missing and directories and shipped) or shipped in directories:
        return ()
    only = "with --profiles only the directories that are named are searched"
    return (f"{only}; the profiles that netuned comes with: --profiles {shipped}",)


def find_host(path: str | None, directories: Sequence[str] = ()) -> tuple[Kernel, Recorded | None]:
    """The host, and of a snapshot its profiles if no ``directories`` are used instead.

    Raises: SnapshotError; ProfileError for a mistake in a description; KernelError.
    """
    for directory in directories:
        if not os.path.isdir(directory):
            raise NetunedError(f"{directory}: is no directory of profiles; name one")
    if path is None:
        kernel = Kernel()
        check_namespace(kernel)
        return kernel, None
    kernel, taken = _opened(path)
    return kernel, snapshot.recorded_profiles(taken) if taken and not directories else None


def _opened(path: str) -> tuple[Kernel, snapshot.Taken | None]:
    """What is in a file: a snapshot, or None with the host that is described there."""
    if is_archive(head := _read(path, 512)):
        taken = snapshot.read(path)
        return taken.kernel, taken
    if not head or b"\0" in head:
        raise SnapshotError(f"{path}: is neither a snapshot nor a described machine")
    from netuned.snapshots import described  # nor does a snapshot need its models

    text = _read(path, MAX_BYTES + 1).decode("utf-8", "surrogateescape")
    return described.machine(text, path), None


def _read_dropped(files: Sequence[str], stdin: str) -> dict[str, bytes]:
    """The contents of files that are to count as dropped, by path; ``stdin`` is that of ``-``.

    Raises: ProfileError if one cannot be read, or netuned would not read it by its name.
    """
    found: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for file in files:
        path = stdin if file == "-" else file
        name = os.path.basename(path)
        problem = ""
        if not is_profile(name):
            problem = NOT_READ
        elif name in names:
            problem = f"{names[name]} has the same name, so one of them would replace the other"
        if problem:
            raise ProfileError(path, 0, 0, "", problem)
        names[name] = path
        try:
            found[path] = (_read_stdin(stdin) if file == "-" else read_trusted(path, ANYONE)) or b""
        except FileNotFoundError:
            raise ProfileError(path, 0, 0, "", "there is no such file") from None
    return found


def _read_stdin(path: str) -> bytes:
    try:
        with open(0, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(path, 0, 0, "", f"cannot be read: {error.strerror}") from None


def host_and_desired(kernel: Kernel, profiles: ProfileSet) -> tuple[Host, Desired]:
    """What is there, and what the profiles make of it. Raises: KernelError."""
    host = read_host(kernel)
    return host, _desired(kernel, profiles, host)


def _desired(kernel: Kernel, profiles: ProfileSet, host: Host) -> Desired:
    desired = plan_host(profiles.profiles, host, read_seats(kernel))
    unknown = (*_without_macs(kernel, profiles), *_without_seats(kernel))
    return replace(desired, problems=(*desired.problems, *unknown))


def plan(kernel: Kernel, profiles: ProfileSet, known: tuple[Host, Desired] | None = None) -> Plan:
    """What the daemon would write on that host now. Raises: KernelError.

    ``known`` is what ``host_and_desired`` gave, where that was asked before.
    """
    return plan_and_looks(kernel, profiles, known)[0]


def plan_and_looks(
    kernel: Kernel, profiles: ProfileSet, known: tuple[Host, Desired] | None = None
) -> tuple[Plan, tuple[Look, ...]]:
    """As ``plan``, with how the host and each card were found. Raises: KernelError."""
    host, desired = known or host_and_desired(kernel, profiles)
    baseline, problems = read_baseline(kernel)
    problems += desired.problems
    changes: list[Change] = []
    withheld: list[Change] = []
    unsupported: list[Lack] = []
    found = tuple(looks(kernel, profiles, (host, desired), baseline))
    if kept := {look.card.nic.ifindex: look.card.nic for look in found if look.card.outplanned}:
        host = replace(host, nics={**host.nics, **kept})  # what they turned out not to have
        return plan_and_looks(kernel, profiles, (host, _desired(kernel, profiles, host)))
    for look in found:
        name = look.card.nic.name
        changes += look.changes
        withheld += look.withheld
        problems += [Problem(name, why) for why in look.problems]
        lacking = report.lacking(look.card)
        if look.card.nic is HOST:  # what only root may read is a problem, and no snapshot has it
            lacking = {n: why for n, why in lacking.items() if n not in look.card.unsupported}
        unsupported += (Lack(name, tunable, why) for tunable, why in lacking.items())
    planned = Plan(tuple(changes), tuple(problems), tuple(withheld), tuple(unsupported))
    return planned, found


@dataclass(frozen=True, slots=True)
class Look:
    """A card, or the host, as it was found: what would be written, what may not be, what fails."""

    card: Card
    changes: tuple[Change, ...] = ()
    withheld: tuple[Change, ...] = ()
    problems: tuple[str, ...] = ()


def looks(
    kernel: Kernel, profiles: ProfileSet, known: tuple[Host, Desired], baseline: Baseline
) -> Iterator[Look]:
    """Look at the host, then at each card of which something is wanted, or is to be put back."""
    host, desired = known
    # A profile that cannot be read may be the one a card without any has: leave it as it is.
    restore = not profiles.errors
    asked = Once(kernel)
    unplanned = {problem.ifname for problem in desired.problems}
    mode = mode_of(desired, left_over=restore and is_left_over(kernel, baseline))
    subjects: list[tuple[Nic, AnyTarget | None]] = [(HOST, wanted_of_host(host, desired, mode))]
    subjects += [(nic, desired.targets.get(ifindex)) for ifindex, nic in host.nics.items()]
    for nic, target in subjects:
        if nic.name in unplanned and nic is not HOST:
            continue
        card = Card(kernel, nic, tuple(tunables_of(nic).values()))
        try:
            card.aim(target, baseline, restore=restore)
            if target is not None or card.wanted:
                yield Look(card, *plan_card(card, asked), _unread(card))
        except KernelError as error:
            yield Look(card, problems=(str(error),))
        card.close()


def _unread(card: Card) -> tuple[str, ...]:
    """What of this host only root may read."""
    if card.nic is not HOST or isinstance(card.kernel, RecordedKernel):
        return ()
    return tuple(f"{tunable}: {why}" for tunable, why in card.unsupported.items())


def wanted_of_host(host: Host, desired: Desired, mode: str | None) -> HostTarget | None:
    """What the cards ask of the host; ``mode`` is what irqbalance is to be told."""
    targets = {host.nics[ifindex].name: target for ifindex, target in desired.targets.items()}
    placing = [tunable for tunable in TUNABLES if tunable.writers.irqbalance]
    placed = [
        host.nics[ifindex]
        for ifindex, target in desired.targets.items()
        if any(target.asks(tunable) for tunable in placing)
    ]
    return host_target(targets, mode, placed)[0]


def limits_of(kernel: Kernel) -> LimitsOf:
    """Reads what cards have at most. It raises: UnsupportedError, KernelError."""

    def limits(tunable: Tunable, nic: Nic) -> Limits:
        return tunable.limits(Card(kernel, nic).view())

    return limits


def read_baseline(kernel: Kernel) -> tuple[Baseline, list[Problem]]:
    """What was there before netuned, and why that is not known."""
    with _copy(kernel, snapshot.BASELINE) as (copy, why):
        baseline = Baseline(copy, _boot_id(kernel))
        try:
            baseline.load()
        except StateFileError:
            why = f"{snapshot.BASELINE}: not a baseline; what it held cannot be put back"
    return baseline, [Problem("", why)] if why else []


def read_waiting(kernel: Kernel) -> tuple[str, tuple[str, ...]]:
    """What waits to be confirmed, for people, and why that is not known."""
    with _copy(kernel, WAITING) as (copy, why):
        file = TrialFile(copy, _boot_id(kernel))
        try:
            file.load()
        except StateFileError:
            why = f"{WAITING}: what waits to be confirmed cannot be read"
    return "; ".join(map(str, file.trials.values())), (why,) if why else ()


def _boot_id(kernel: Kernel) -> str:
    return kernel.files.read_text("/proc/sys/kernel/random/boot_id", "")


@contextmanager
def _copy(kernel: Kernel, path: str) -> Iterator[tuple[Path, str]]:
    """A state file's copy, which may be set aside, and why there is none though there may be."""
    why = ""
    with tempfile.TemporaryDirectory(prefix="netuned-") as directory:
        copy = Path(directory) / os.path.basename(path)
        try:
            copy.write_bytes(kernel.files.read_long(path, statefile.LIMIT + 1))
        except KernelError as error:
            why = str(error) if error.errno != errno.ENOENT else ""
        yield copy, why


def read_seats(kernel: Kernel) -> Seats:
    """Where queues sat before; nowhere if that cannot be read, as for the daemon."""
    try:
        return parse_seats(kernel.files.read_long(snapshot.PLACEMENT, MAX_FILE))
    except (KernelError, ValueError):
        return NOBODY


def _without_seats(kernel: Kernel) -> tuple[Problem, ...]:
    """A plan that knows nothing of where queues sat can move some that would stay."""
    try:
        kernel.files.read_long(snapshot.PLACEMENT, MAX_FILE)
    except KernelError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return (
                Problem("", f"{error}: where queues are is not known, and they may stay there"),
            )
    return ()


def _without_macs(kernel: Kernel, profiles: ProfileSet) -> tuple[Problem, ...]:
    """Profiles that may match cards by what the snapshot does not have."""
    if not isinstance(kernel, RecordedKernel) or kernel.macs:
        return ()
    names = [
        loaded.profile.name
        for loaded in profiles.profiles
        if any(match.mac for match in loaded.profile.match)
    ]
    what = "matches by MAC address, which this snapshot does not have; take it with --macs"
    return tuple(Problem("", f"profile {name} {what}") for name in names)


def _read(path: str, size: int) -> bytes:
    try:
        with open(path, "rb", opener=open_regular) as file:
            return file.read(size)
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror}") from None
