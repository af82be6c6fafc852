"""Beside others: TuneD, networkctl, nmcli and irqbalance, in a throwaway Debian of their own.

They run in a namespace with cards, as the distribution packages them, and so does netuned: its
package is installed there, and runs on that Debian's Python. The host has none of them installed or
started. The root is built by mmdebstrap and kept in the lab's cache; what is written is gone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import roots
from bench.idle_pass import PROFILE
from bench.packages import NEEDED
from bench.table import Row
from netuned.reconcile.loading import KEEP_AFTER_S
from tests import packages
from tests.netns.lab import Lab
from tests.vm import host

CARDS = 4
QUEUES = 8
ROUNDS = 8
PACKAGES = ("tuned", "network-manager", "irqbalance", "dbus", "systemd", "iproute2", "ethtool",
            "procps", "kmod", *NEEDED)  # fmt: skip
PROBE = Path(__file__).with_name("peer_probe.py")
INSIDE = """
set -e
unset DBUS_SYSTEM_BUS_ADDRESS PYTHONDONTWRITEBYTECODE
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=$0,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc none proc
mount -t sysfs none sys
mount --bind /dev dev
mount -t tmpfs none run
mkdir -p run/dbus run/tuned
cp $1 tmp/probe.py
cp $2 root/
DEBIAN_FRONTEND=noninteractive chroot . sh -c "dpkg --install /root/netuned_*.deb" >/dev/null 2>&1
mkdir -p etc/netuned/profiles.d
chroot . dbus-daemon --system --fork
shift 2
exec chroot . /usr/bin/python3 /tmp/probe.py "$@"
"""
"""The shell's, in namespaces of its own: what it writes into the root is gone with them."""


def measure(idle_s: float) -> list[Row]:
    """Everything in one run; a peer that cannot run here is said so."""
    try:
        host.check_rights()
        host.ensure_packages()
        root = roots.root("peers", PACKAGES)
        (ours,) = packages.built().glob("netuned_*.deb")
        own, peers = _measured(root, ours, idle_s)
    except (
        *(host.LabError, host.LabUnavailable, AssertionError),
        subprocess.CalledProcessError,
    ) as error:
        why = " ".join(str(getattr(error, "stderr", "") or error).split())[-200:]
        return [Row("peers", 0, "", None, f"cannot run here: {why}")]
    return [*_rows(own, peers)]


def _measured(root: Path, ours: Path, idle_s: float) -> Sequence[Mapping[str, Any]]:
    """netuned's figures, and the others'."""
    with Lab() as lab:
        lab.add_pairs(_pairs(), queues=QUEUES)
        apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        files = (str(root), str(PROBE), str(ours))
        numbers = (str(ROUNDS), str(idle_s), str(KEEP_AFTER_S + 1))
        printed = lab.run(*apart, "sh", "-c", INSIDE, *files, *numbers, PROFILE).stdout
    found: Sequence[Mapping[str, Any]] = json.loads(printed)
    return found


def _pairs() -> Iterator[tuple[str, str]]:
    return ((f"lan{number}", f"plan{number}") for number in range(CARDS))


def _rows(own: Mapping[str, Any], peers: Mapping[str, Any]) -> Iterator[Row]:
    tuned, ours, changed = peers["tuned"], own["started"], own["changed"]
    yield _ratio("start to READY ÷ TuneD's", own["start"], peers["start"], 1.0)
    yield _ratio("  name on the bus ÷ TuneD's", own["named"], peers["start"], None)
    yield _ratio("  of profiles not compiled before", own["compiling"], peers["start"], None)
    for name, bound in (("resident", 1.2), ("proportional", 1.2)):
        against = f"{ours[name]:.1f} MB, TuneD {tuned[name]:.1f}, irqbalance "
        against += f"{peers['irqbalance'][name]:.1f}, NetworkManager "
        against += f"{peers['NetworkManager'][name]:.1f}"
        yield Row(f"{name} memory ÷ TuneD's", ours[name] / tuned[name], "×", bound, against)
        against = f"{changed[name]:.1f} MB, with what compiles it"
        yield Row("  after a profile changed", changed[name] / tuned[name], "×", None, against)
    for name, unit, bound in (("percent", "% of a CPU", 0.01), ("wakeups", "/s", 0.1)):
        against = f"TuneD {tuned[name]:.3g}, irqbalance {peers['irqbalance'][name]:.3g}"
        yield Row(f"idle: {unit}", changed[name], "", bound, against)
    yield _ratio("`status` ÷ `networkctl status`", own["status"], peers["networkctl"], 1.0)
    yield _ratio("`status` ÷ `tuned-adm active`", own["status"], peers["active"], 0.5)
    yield _ratio("`status` ÷ `nmcli device status`", own["status"], peers["nmcli"], None)
    yield _ratio("profile changed ÷ `tuned-adm profile`", own["change"], peers["change"], 1.0)


def _ratio(what: str, ours: Sequence[float], theirs: Sequence[float], bound: float | None) -> Row:
    own, other = statistics.median(ours), statistics.median(theirs)
    spread = f"{own:.0f} ms ({min(ours):.0f} to {max(ours):.0f}) against {other:.0f} "
    return Row(what, own / other, "×", bound, spread + f"({min(theirs):.0f} to {max(theirs):.0f})")
