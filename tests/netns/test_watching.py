"""``netunedctl watch`` beside a real daemon, and what others may send it over the bus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from netuned.bus import wire
from netuned.cpuset import CpuSet
from netuned.plan import Change
from netuned.status import UNMANAGED
from tests.netns.bus_fixtures import (
    CALM,
    IGB,
    NOBODY,
    UNMANAGED_NIC,
    PrivateBus,
    Served,
    private_bus,
    served,
    wait_for,
)
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns
Skip = Callable[[str], NoReturn]

WAIT_S = 30.0


class Watching:
    """A running ``netunedctl watch --json``, and what it has printed."""

    def __init__(self, lines: Path) -> None:
        self._lines = lines

    def entries(self) -> list[dict[str, Any]]:
        whole = self._lines.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def until(self, *words: str) -> dict[str, Any]:
        """The first entry whose message has all these, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [e for e in self.entries() if all(word in e["message"] for word in words)]

        try:
            wait_for(found, f"{words}", WAIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; printed: {self._lines.read_text()}") from None
        return found()[0]


@contextmanager
def watching(environment: dict[str, str], folder: Path, *words: str) -> Iterator[Watching]:
    """From the time on at which it hears all."""
    lines = folder / "lines"
    script = (
        "import netuned.bus.following as f, sys; from netuned.cli.main import main;"
        "real = f.Follower.begin;"
        "f.Follower.begin = lambda self: (real(self), print(file=sys.stderr, flush=True));"
        "main()"
    )
    with lines.open("w") as out:
        command = [sys.executable, "-c", script, "watch", "--json", *words]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE)
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == b"\n"
            yield Watching(lines)
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        yield made


def test_what_happens_is_told_as_it_happens(lab: Lab, tmp_path: Path) -> None:
    lab.start()
    with watching(lab.environment, tmp_path) as seen:
        lab.profile("edge", "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0}\n")
        change = seen.until("Set lan0 rps rx 0-3: none -> 0 (profile)")
        assert (change["kind"], change["ifnames"], change["key"]) == ("change", ["lan0"], "rx 0-3")
        assert (change["before"], change["after"], change["cause"]) == ("none", "0", "profile")
        assert change["latency_us"] is None
        seen.until("lan0 has profile edge now")
        seen.until("lan0 is in-sync")
        since = lab.card("lan0")["since"]
        assert change["at"] - 60 < since < time.time()

        lab.shell("echo 3 > /sys/class/net/lan0/queues/rx-1/rps_cpus")
        repair = seen.until("Repaired lan0 rps rx-1: found 0-1, put back 0 (")
        assert repair["cause"] == "drift"
        assert repair["latency_us"] > 0
        assert lab.card("lan0")["since"] == since, "it was put back before anybody saw it otherwise"

        lab.ctl("pause", "lan0")
        seen.until("lan0 is paused")
        lab.shell("echo 2 > /sys/class/net/lan0/queues/rx-1/rps_cpus")
        assert seen.until("lan0 rps is drifted")["kind"] == "state"
        lab.ctl("resume", "lan0")
        lab.ctl("restore", "lan0", "rps")
        seen.until("Set lan0 rps rx 0-3: 0 -> none (restore)")

        lab.shell("ip link add lan1 type veth peer name peer1")
        seen.until("lan1 is here, with no profile")
        lab.shell("ip link del lan1")
        seen.until("lan1 is gone")

        lab.stop()
        seen.until("netuned has ended: nothing keeps the cards as they are")
        lab.start()
        assert seen.until("netuned runs again")["kind"] == "state"
        lab.ctl("apply", "lan0")
        seen.until("Set lan0 rps rx 0-3: none -> 0 (apply)")


def test_who_contends_is_named(lab: Lab, tmp_path: Path) -> None:
    lab.profile("edge", "match: [{kind: veth, name: lan0}]\nqdisc: {kind: pfifo}\n")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    line = "qdisc replace dev lan0 root bfifo"
    loop = f"while echo {line}; do sleep 0.05; done | tc -batch -"
    with watching(lab.environment, tmp_path, "lan0") as seen:
        tuner = subprocess.Popen(lab.command("sh", "-c", loop), start_new_session=True)
        try:
            repair = seen.until("Repaired lan0 qdisc root: found bfifo", "; tc (pid", "had set it")
            assert repair["writer"].startswith("tc (pid")
            seen.until("lan0 is contended")
            contended = seen.until("lan0 qdisc is contended: changed again", "by tc (pid")
            assert contended["kind"] == "contention"
        finally:
            os.killpg(tuner.pid, 15)
            tuner.wait()
        assert not [e for e in seen.entries() if e["message"].startswith("Conflict")]


def test_a_trial_is_told_of(lab: Lab, tmp_path: Path) -> None:
    lab.start()
    lab.ctl("pause")
    lab.profile("edge", "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0}\n")
    lab.ctl("reload")
    with watching(lab.environment, tmp_path) as seen:
        said = json.loads(lab.ctl("apply", "--confirm", "60s", "--json").stdout)
        trial = seen.until(f"To be confirmed: {said['confirm']['id']}: lan0, until")
        assert trial["kind"] == "trial"
        lab.ctl("rollback")
        seen.until("Set lan0 rps rx 0-3: 0 -> none (rollback)")
        seen.until("Nothing waits to be confirmed any more")


# What others may send


@pytest.fixture(scope="module")
def bus() -> Iterator[PrivateBus]:
    with private_bus() as made:
        yield made


RPS = (
    Change("enp129s0", "rps", "rx-0", CpuSet(), CpuSet.of([1]), "edge"),
    Change("enp129s0", "rps", "rx-1", CpuSet(), CpuSet.of([1]), "edge"),
)


def test_only_netuneds_signals_count(bus: PrivateBus, tmp_path: Path) -> None:
    with served(bus, CALM) as daemon, watching(bus.environment, tmp_path) as seen:
        names = bus.run("busctl", "--system", "list", "--unique", "--no-legend").stdout
        for name in (line.split()[0] for line in names.splitlines()):
            for path, interface in ((wire.nic_path(2), wire.NIC), (wire.ROOT, wire.MANAGER)):
                words = ("--signal", f"{interface}.Changed", "forged", "[('rps','rx','0','1','')]")
                emit = ("gdbus", "emit", "--system", "--dest", name, "--object-path", path)
                bus.run(*emit, *words, uid=NOBODY)
        daemon.do(lambda: daemon.service.changed(2, "profile", RPS, {"rps": "tune.sh (pid 7)"}))
        daemon.do(lambda: daemon.service.changed(99, "profile", RPS, {}))
        last = seen.until("Set enp129s0 rps rx 0-1: none -> 1 (profile)")
        assert last["writer"] == "tune.sh (pid 7)"
        assert seen.entries() == [last]


def test_of_a_card_alone_netuneds_end_is_told_too(bus: PrivateBus, tmp_path: Path) -> None:
    daemon = Served(bus, CALM)
    daemon.start()
    with watching(bus.environment, tmp_path, "veth0", "host") as seen:
        daemon.do(lambda: daemon.service.changed(2, "profile", RPS, {}))
        daemon.do(lambda: daemon.service.changed(0, "apply", RPS, {}))
        seen.until("Set host rps rx 0-1: none -> 1 (apply)")
        odd = replace(UNMANAGED_NIC, name="v\x1b[31m\udcff")
        daemon.publish(replace(CALM, nics=(IGB, odd)))
        assert seen.until("is called")["ifnames"] == ["v\x1b[31m\\xff"]
        daemon.publish(replace(CALM, nics=(replace(IGB, state=UNMANAGED), odd)))
        daemon.stop()
        seen.until("netuned has ended")
        assert not [e for e in seen.entries() if "enp129s0" in e["message"]]


def test_without_a_daemon_it_says_so(bus: PrivateBus) -> None:
    done = bus.ctl("watch")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("netunedctl: netuned is not running")
    with served(bus, CALM):
        done = bus.ctl("watch", "eth7")
        assert done.stderr.startswith("netunedctl: there is no card named eth7")
