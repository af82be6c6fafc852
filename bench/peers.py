"""Beside others: TuneD, networkctl, nmcli and irqbalance, in a throwaway Debian of their own.

They run in namespaces with cards like netuned's, as the distribution packages them; the host has
none of them installed or started. The root is built by mmdebstrap and kept in the lab's cache.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import roots
from bench.daemon import CalmLab, Starts
from bench.idle_pass import PROFILE
from bench.peer_probe import timed, weigh
from bench.table import Row
from netuned.reconcile.loading import KEEP_AFTER_S
from tests.netns.lab import Lab
from tests.vm import host

CARDS = 4
QUEUES = 8
ROUNDS = 8
PACKAGES = ("tuned", "network-manager", "irqbalance", "dbus", "systemd", "iproute2", "ethtool",
            "procps", "kmod")  # fmt: skip
PROBE = Path(__file__).with_name("peer_probe.py")
INSIDE = """
set -e
unset DBUS_SYSTEM_BUS_ADDRESS
mount --make-rprivate /
for place in proc sys; do mount -t ${place}fs none $0/$place 2>/dev/null ||
  mount -t $place none $0/$place; done
mount --bind /dev $0/dev
mount -t tmpfs none $0/run
mkdir -p $0/run/dbus $0/run/tuned
for part in etc/tuned var tmp; do
  mkdir -p $0/run/scratch/$part; cp -a $0/$part/. $0/run/scratch/$part/
  mount --bind $0/run/scratch/$part $0/$part
done
cp $1 $0/tmp/probe.py
chroot $0 dbus-daemon --system --fork
exec chroot $0 /usr/bin/python3 /tmp/probe.py $2 $3
"""
"""The shell's, in namespaces of its own: what it writes into the root is gone with them."""


def measure(idle_s: float) -> list[Row]:
    """Everything in one run; a peer that cannot run here is said so."""
    try:
        host.check_rights()
        root = roots.root("peers", PACKAGES)
        peers = _peers(root, idle_s)
    except (host.LabError, host.LabUnavailable, subprocess.CalledProcessError) as error:
        why = " ".join(str(getattr(error, "stderr", "") or error).split())[-200:]
        return [Row("peers", 0, "", None, f"cannot run here: {why}")]
    return [*_rows(_own(idle_s), peers)]


def _peers(root: Path, idle_s: float) -> Mapping[str, Any]:
    with Lab() as lab:
        lab.add_pairs(_pairs(), queues=QUEUES)
        apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        words = (str(root), str(PROBE), str(ROUNDS), str(idle_s))
        printed = lab.run(*apart, "sh", "-c", INSIDE, *words).stdout
    found: Mapping[str, Any] = json.loads(printed)
    return found


def _pairs() -> Iterator[tuple[str, str]]:
    return ((f"lan{number}", f"plan{number}") for number in range(CARDS))


def _own(idle_s: float) -> Mapping[str, Any]:
    """netuned's own, by the same measures."""
    changes = []
    with CalmLab() as lab:
        lab.start_bus()
        lab.add_pairs(_pairs(), queues=QUEUES)
        lab.profile("edge", PROFILE)
        compiling, starts = Starts(lab).in_turn(ROUNDS)
        for number in range(CARDS):
            lab.wait_state(f"lan{number}", "in-sync")
        assert lab.daemon
        time.sleep(1)
        started = weigh(lab.daemon.pid, 0.1)
        ctl = str(Path(sys.executable).with_name("netunedctl"))
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = lab.environment["DBUS_SYSTEM_BUS_ADDRESS"]
        try:
            status = [timed(ctl, "status") for _ in range(ROUNDS)]
            for number in range(ROUNDS):
                text = PROFILE.replace("limit: 500", f"limit: {500 + number % 2}")
                began = time.perf_counter()
                lab.profile("edge", text)
                timed(ctl, "reload")
                changes.append(1000 * (time.perf_counter() - began))
        finally:
            del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
        time.sleep(KEEP_AFTER_S + 1)
        changed = weigh(lab.daemon.pid, idle_s)
    found = {"start": starts, "compiling": compiling, "status": status, "change": changes}
    return {**found, "started": started, "changed": changed}


def _rows(own: Mapping[str, Any], peers: Mapping[str, Any]) -> Iterator[Row]:
    tuned, ours, changed = peers["tuned"], own["started"], own["changed"]
    yield _ratio("start to READY ÷ TuneD's", own["start"], peers["start"], 1.0)
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
