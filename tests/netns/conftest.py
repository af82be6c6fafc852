"""A fresh network namespace for each test, entered by the test process itself.

The process gets its own mount namespace once; each test then gets a network namespace and the
sysfs that belongs to it. Programs and threads that a test starts are in it too. Nothing has a name
outside, so tests run beside each other, and the kernel removes everything when the test is over or
the process dies.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from .lab import Lab

HERE = Path(__file__).resolve().parent

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def pytest_configure() -> None:
    """Programs of tests are forked; benchmarks, which import tests, measure whole ones."""
    Lab.forks = True


@dataclass(frozen=True)
class Namespace:
    """The network namespace the test is in; ``lo`` is up."""

    def sh(self, command: str) -> str:
        """Run a shell command and return its output; fails the test with what it said."""
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
        return done.stdout

    def veth(self, name: str = "v0", queues: int = 4, *, up: bool = True, peer: str = "") -> int:
        """Make a pair of ``queues`` receive and transmit queues each; returns the ifindex."""
        peer = peer or f"{name}p"
        many = f"numrxqueues {queues} numtxqueues {queues}"
        self.sh(f"ip link add {name} {many} type veth peer name {peer} {many}")
        if up:
            self.sh(f"ip link set {name} up && ip link set {peer} up")
        return socket.if_nametoindex(name)

    def tc(self, name: str = "v0") -> dict[str, dict[str, Any]]:
        """What ``tc qdisc show`` says of a card: parent (``root`` or ``1:2``) -> its JSON."""
        shown = json.loads(self.sh(f"tc -j qdisc show dev {name}"))
        return {entry.get("parent", "root"): entry for entry in shown}


ONE_AFTER_THE_OTHER = ("test_contention.py",)
"""Files whose tests go to one worker, the first: each would take a whole CPU."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is to be alone comes last: a worker that waits for the others does nothing meanwhile."""
    items.sort(key=lambda item: item.path.parent == HERE and _is_alone(item))


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have each test go to any worker, but for those files.

    xdist's own groups come to nothing with pytest 9.2, silently: its mark no longer shows in
    the tests' ids (xdist 3.8).
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has none

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            file, _, _ = nodeid.partition("::")
            return file if file.endswith(ONE_AFTER_THE_OTHER) else nodeid

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _alone_or_beside_others(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Tests run side by side; one that is marked ``alone`` waits until no other runs."""
    alone = _is_alone(request.node)
    # of the worker processes of one run the directory above is the same
    with (tmp_path_factory.getbasetemp().parent / "netns.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture
def skip() -> Callable[[str], NoReturn]:
    """Skip the test and say what is missing; a failure where CI allows no skip."""
    return _skip


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """Run the test in a network namespace of its own."""
    if os.geteuid() != 0:
        _skip("needs root: makes network namespaces")
    _private_mounts()
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", CLONE_NEWNET)
        try:
            _call("mount", b"sysfs", b"/sys", b"sysfs", ctypes.c_ulong(0), None)
            try:
                inside = Namespace()
                inside.sh("ip link set lo up")
                yield inside
            finally:
                _call("umount2", b"/sys", MNT_DETACH)
        finally:
            _call("setns", outside, CLONE_NEWNET)
    finally:
        os.close(outside)


def _skip(missing: str) -> NoReturn:
    if os.environ.get("NETUNED_NO_SKIP") == "1":
        pytest.fail(f"no skip allowed: {missing}")
    pytest.skip(missing)


def _private_mounts() -> None:
    """Give this process a mount namespace of its own, where /sys can change."""
    if os.readlink("/proc/thread-self/ns/mnt") == _Mounts.own:
        return
    _call("unshare", CLONE_NEWNS)
    _call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    _Mounts.own = os.readlink("/proc/thread-self/ns/mnt")


class _Mounts:
    own = ""


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
