"""Planning without the daemon: for this host, a snapshot of another, or a described machine.

The readers, the planner and the comparison are the daemon's own; only the run-time state of its
loop (paused cards, settings that a card refused) is not known here.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from netuned.errors import KernelError, SnapshotError, StateFileError
from netuned.hardware.host import Host, read_host
from netuned.hardware.nic import Nic
from netuned.hardware.topology import read_topology
from netuned.kernel import Kernel
from netuned.kernel.recorded import RecordedKernel
from netuned.kernel.recording import MAX_FILE
from netuned.placement.seatfile import parse_seats
from netuned.placement.seats import NOBODY, Seats
from netuned.plan import Change, Plan, Problem
from netuned.planning.explain import LimitsOf
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import DEFAULT_DIRECTORIES, ProfileSet
from netuned.profiles.loader import load as load_profiles
from netuned.profiles.trust import ANYONE
from netuned.profiles.yamltree import MAX_BYTES
from netuned.reconcile.apply import plan_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.hostwide import plan_of_host, wanted_of_host
from netuned.snapshots import described, snapshot
from netuned.snapshots.archive import is_archive, open_regular
from netuned.tunables.base import Limits, Tunable


def load(path: str | None, directories: Sequence[str] = ()) -> tuple[Kernel, ProfileSet]:
    """A host and its profiles: this one (None), or that of a snapshot or description.

    ``directories`` are used instead of the host's own, whoever owns them: nothing is written.
    Without any, a described machine has the profiles of this host.

    Raises: SnapshotError; ProfileError for a mistake in a description; KernelError.
    """
    for directory in directories:
        if not os.path.isdir(directory):
            raise SnapshotError(f"{directory}: is no directory of profiles")
    kernel: Kernel
    recorded = None
    if path is None:
        kernel = Kernel()
    elif is_archive(head := _read(path, 512)):
        taken = snapshot.read(path)
        kernel = taken.kernel
        recorded = None if directories else snapshot.recorded_profiles(taken)
    elif b"\0" in head:
        raise SnapshotError(f"{path}: is neither a snapshot nor a described machine")
    else:
        text = _read(path, MAX_BYTES + 1).decode("utf-8", "surrogateescape")
        kernel = described.machine(text, path)
    profiles = load_profiles(
        tuple(directories) or DEFAULT_DIRECTORIES,
        possible=read_topology(kernel.files).possible,
        owner=ANYONE if directories else 0,
        recorded=recorded,
    )
    return kernel, profiles


def host_and_desired(kernel: Kernel, profiles: ProfileSet) -> tuple[Host, Desired]:
    """What is there, and what the profiles make of it. Raises: KernelError."""
    host = read_host(kernel)
    desired = plan_host(profiles.profiles, host, read_seats(kernel))
    return host, replace(desired, problems=(*desired.problems, *_without_macs(kernel, profiles)))


def plan(kernel: Kernel, profiles: ProfileSet) -> Plan:
    """What the daemon would write on that host now. Raises: KernelError."""
    host, desired = host_and_desired(kernel, profiles)
    baseline, problems = read_baseline(kernel)
    # A profile that cannot be read may be the one a card without any has: leave it as it is.
    restore = not profiles.errors
    changes: list[Change] = []
    withheld: list[Change] = []
    problems += desired.problems
    unplanned = {problem.ifname for problem in desired.problems}
    for ifindex, nic in host.nics.items():
        target = desired.targets.get(ifindex)
        if nic.name in unplanned:
            continue
        card = Card(kernel, nic)
        try:
            card.aim(target, baseline, restore=restore)
            if target is not None or card.wanted:
                allowed, forbidden = plan_card(card)
                changes += allowed
                withheld += forbidden
        except KernelError as error:
            problems.append(Problem(nic.name, str(error)))
        card.close()
    targets = {host.nics[ifindex].name: target for ifindex, target in desired.targets.items()}
    whole = plan_of_host(kernel, baseline, wanted_of_host(targets, restore=restore))
    return Plan((*whole.changes, *changes), (*whole.problems, *problems), tuple(withheld))


def limits_of(kernel: Kernel) -> LimitsOf:
    """Reads what cards have at most. It raises: UnsupportedError, KernelError."""

    def limits(tunable: Tunable, nic: Nic) -> Limits:
        return tunable.limits(Card(kernel, nic).view(kernel.rtnl.qdiscs))

    return limits


def read_baseline(kernel: Kernel) -> tuple[Baseline, list[Problem]]:
    """What was there before netuned, and why that is not known."""
    boot_id = kernel.files.read_text("/proc/sys/kernel/random/boot_id", "")
    with tempfile.TemporaryDirectory(prefix="netuned-") as directory:
        copy = Path(directory) / "baseline.json"
        baseline = Baseline(copy, boot_id)
        try:
            copy.write_bytes(kernel.files.read_long(snapshot.BASELINE, MAX_FILE))
            baseline.load()
        except KernelError as error:
            if error.errno != errno.ENOENT:
                return baseline, [Problem("", str(error))]
        except StateFileError:
            problem = f"{snapshot.BASELINE}: not a baseline; what it held cannot be put back"
            return baseline, [Problem("", problem)]
    return baseline, []


def read_seats(kernel: Kernel) -> Seats:
    """Where queues sat before; nowhere if that cannot be read, as for the daemon."""
    try:
        return parse_seats(kernel.files.read_long(snapshot.PLACEMENT, MAX_FILE))
    except (KernelError, ValueError):
        return NOBODY


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
