"""/sys of one network namespace and netlink of another: nothing is set up by halves."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.errors import NamespaceError
from netuned.hardware.namespace import check_namespace
from netuned.kernel import Kernel
from tests.netns.conftest import CLONE_NEWNET, MNT_DETACH, Namespace, _call
from tests.netns.lab import Lab
from tests.netns.test_stacking import Daemon, rps

pytestmark = pytest.mark.netns

PROFILE = "match: [{kind: veth}]\nrps: {cpus: 0}\nqdisc: {kind: pfifo, limit: 9}\n"
WORDS = "shows another network namespace than netlink"


@contextlib.contextmanager
def elsewhere(*, sysfs: bool = False) -> Iterator[None]:
    """Netlink of a new namespace, while /sys stays; with ``sysfs`` the other way round."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", CLONE_NEWNET)
        if sysfs:
            _call("mount", b"sysfs", b"/sys", b"sysfs", ctypes.c_ulong(0), None)
        yield
    finally:
        _call("setns", before, CLONE_NEWNET)
        os.close(before)


def test_cards_of_one_namespace_are_the_same_by_both(netns: Namespace) -> None:
    kernel = Kernel()
    check_namespace(kernel)
    netns.veth("v0")
    check_namespace(kernel)
    check_namespace(kernel, [(77, "left"), (1, "renamed")])


@pytest.mark.parametrize("cards", [("v0", ""), ("", "v0"), ("v0", "w0"), ("v0", "v0")])
def test_those_of_two_are_told_apart(netns: Namespace, cards: tuple[str, str]) -> None:
    """Also where names and ifindexes are equal: cards that are made alike differ in the MAC."""
    here, there = cards
    if here:
        netns.veth(here)
    with elsewhere():
        if there:
            netns.veth(there)
        with pytest.raises(NamespaceError, match=WORDS):
            check_namespace(Kernel())


@pytest.mark.parametrize("there", ["v0", "w0"])
def test_the_loop_does_not_begin(netns: Namespace, tmp_path: Path, there: str) -> None:
    netns.veth("v0")
    (daemon_directory := tmp_path / "daemon").mkdir()

    async def scenario(daemon: Daemon) -> None:
        pytest.fail("it has begun")

    with elsewhere():
        netns.veth(there)
        daemon = Daemon(daemon_directory)
        (daemon.profiles / "edge.yaml").write_text(PROFILE)
        with pytest.raises(NamespaceError):
            asyncio.run(daemon.run(scenario))
        assert netns.tc(there)["root"]["kind"] == "noqueue"
    assert rps("v0") == 0


def test_a_card_that_comes_to_one_of_two_empty_namespaces(netns: Namespace, tmp_path: Path) -> None:
    """Nothing told them apart at the start."""

    async def scenario(daemon: Daemon) -> None:
        netns.veth("v0")
        await daemon.wait(lambda: WORDS in " ".join(daemon.problems))
        assert not daemon.reconciler.cards.slots

    with elsewhere():
        daemon = Daemon(tmp_path)
        (daemon.profiles / "edge.yaml").write_text(PROFILE)
        asyncio.run(daemon.run(scenario))
        assert netns.tc("v0")["root"]["kind"] == "noqueue"


def test_another_sysfs_while_it_runs_is_told_and_not_written(
    netns: Namespace, tmp_path: Path
) -> None:
    netns.veth("v0")
    daemon = Daemon(tmp_path)

    async def scenario(daemon: Daemon) -> None:
        with elsewhere(sysfs=True):
            netns.veth("v0")
            held = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            (daemon.profiles / "edge.yaml").write_text(PROFILE)
            await daemon.wait(lambda: WORDS in " ".join(daemon.problems))
            assert (rps("v0"), netns.tc("v0")["root"]["kind"]) == (0, "noqueue")
        finally:
            _call("umount2", b"/sys", MNT_DETACH)
            os.close(held)
        assert rps("v0") == 0
        await daemon.wait(lambda: daemon.card("v0").state == "in-sync")
        assert (rps("v0"), netns.tc("v0")["root"]["kind"], daemon.problems) == (1, "mq", ())

    asyncio.run(daemon.run(scenario))


class Mixed(Lab):
    """/sys is the lab's; netlink that of a namespace of its own."""

    def command(self, *words: str) -> list[str]:
        return super().command("unshare", "--net", *words)


def test_the_daemon_ends_and_what_only_looks_says_why() -> None:
    with Lab() as lab:
        lab.add_pair("lan0", "peer0", queues=2)
        lab.profile("edge", PROFILE)
        mixed = Mixed.__new__(Mixed)
        mixed.__dict__.update(lab.__dict__)
        mixed.start(bus=False, wait=False)
        assert mixed.daemon is not None
        assert mixed.daemon.wait(20) == os.EX_CONFIG
        assert lab.logged().count(WORDS) == 1
        looking = [sys.executable, "-m", "netuned.cli"]
        for words in (
            ["plan", "--profiles", str(lab.profiles)],
            ["snapshot", f"{lab.directory}/x"],
        ):
            done = mixed.run(*looking, *words, check=False)
            assert (done.returncode, done.stdout) == (1, "")
            assert WORDS in done.stderr
        assert lab.attribute("lan0", "rx-0", "rps_cpus") == "0"
