"""Queues that a write ends: what was set of them comes back with them, whoever had set it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

QUEUES = "/sys/class/net/lan0/queues"
FEWER = "match: [{kind: veth, name: lan0}]\nchannels: {rx: 2, tx: 2}\n"
MORE = "match: [{kind: veth, name: lan0}]\nchannels: {rx: max, tx: max}\n"
LEAVES = "qdisc: {kind: pfifo, limit: 77}\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Four queues, and each of their files set by hand."""
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        made.shell(
            f"cd {QUEUES}; for q in 0 1 2 3; do echo 3 > rx-$q/rps_cpus;"
            " echo 64 > rx-$q/rps_flow_cnt; echo $((q % 3 + 1)) > tx-$q/xps_cpus; done"
        )
        yield made


def files(lab: Lab) -> str:
    return lab.shell(f"cd {QUEUES}; grep -H . rx-*/rps_* tx-*/xps_cpus")


def leaves(lab: Lab) -> dict[int, str]:
    """By queue, what is attached under mq, also to queues that are closed."""
    shown = json.loads(lab.shell("tc -j qdisc show dev lan0"))
    return {
        int(entry["parent"].partition(":")[2], 16) - 1: " ".join(
            [entry["kind"], str(entry["options"].get("limit", ""))]
        ).rstrip()
        for entry in shown
        if "parent" in entry
    }


def by_steps(lab: Lab, path: Path) -> None:
    """More of them closed by another profile, which then goes."""
    lab.profile("edge", FEWER.replace("2", "1"))
    with lab.asking() as client:
        client.reload()
    assert "rx-1" not in files(lab)
    removed(lab, path)


def removed(lab: Lab, path: Path) -> None:
    path.unlink()
    lab.wait_state("lan0", "unmanaged")


def restored(lab: Lab, path: Path) -> None:
    with lab.asking() as client:
        client.restore()


def killed(lab: Lab, path: Path) -> None:
    """By another process than the one that closed them."""
    lab.stop(signal.SIGKILL)
    path.unlink()
    lab.start()
    lab.wait_state("lan0", "unmanaged")


def named_no_more(lab: Lab, path: Path) -> None:
    lab.profile("edge", "match: [{kind: veth, name: lan0}]\nqdisc: default\n")
    with lab.asking() as client:
        client.reload()


def reopened(lab: Lab, path: Path) -> None:
    """By another number, with a setting of them that came and went meanwhile."""
    with lab.asking() as client:
        lab.profile("edge", f"{FEWER}rps: {{cpus: 1}}\n")
        client.reload()
        assert lab.attribute("lan0", "rx-0", "rps_cpus") == "2"
        lab.profile("edge", MORE)
        client.reload()


@pytest.mark.parametrize("end", [removed, restored, killed, named_no_more, reopened, by_steps])
def test_what_nobody_names_comes_back_with_its_queue(
    lab: Lab, end: Callable[[Lab, Path], None]
) -> None:
    before = files(lab)
    path = lab.profile("edge", FEWER)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    kept = files(lab)
    assert "rx-2" not in kept
    assert set(kept.splitlines()) <= set(before.splitlines()), "what is open is not touched"
    lab.shell(f"echo 1 > {QUEUES}/rx-1/rps_cpus")  # it is nobody's but whose who set it
    end(lab, path)
    assert files(lab) == before.replace("rx-1/rps_cpus:3", "rx-1/rps_cpus:1")


def test_a_trial_that_is_rolled_back_brings_it_back(lab: Lab) -> None:
    before = files(lab)
    lab.start()
    with lab.asking() as client:
        client.pause("lan0")
        lab.profile("edge", FEWER)
        client.reload()
        client.begin_trial("lan0", 30)
        assert "rx-2" not in files(lab)
        client.roll_back()
    assert files(lab) == before


def test_with_one_queue_open_its_cpus_are_on_record(lab: Lab) -> None:
    lab.shell("ethtool -L lan0 rx 1 tx 1")
    before = files(lab)
    assert "tx-0/xps_cpus:1" in before
    path = lab.profile("edge", f"{MORE}xps: {{cpus: 1}}\n")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    assert "tx-0/xps_cpus:1" not in files(lab)
    removed(lab, path)
    assert files(lab) == before


@pytest.mark.parametrize("end", [removed, restored, killed])
def test_a_queue_that_closes_keeps_no_qdisc_of_netuneds(
    lab: Lab, end: Callable[[Lab, Path], None]
) -> None:
    """It would come back when somebody opens the queue."""
    lab.shell("tc qdisc add dev lan0 root handle 7: mq")
    lab.shell("tc qdisc add dev lan0 parent 7:2 pfifo limit 301")
    kernels = leaves(lab)[3]
    lab.shell("ethtool -L lan0 rx 2 tx 2")
    path = lab.profile("edge", MORE + LEAVES)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    assert leaves(lab) == dict.fromkeys(range(4), "pfifo 77")
    end(lab, path)
    assert {kernels, "pfifo 301"} == set(leaves(lab).values())
    lab.shell("ethtool -L lan0 rx 4 tx 4")
    assert leaves(lab) == {0: kernels, 1: "pfifo 301", 2: kernels, 3: kernels}


def test_a_qdisc_of_a_queue_that_is_closed_comes_back_with_its_root(lab: Lab) -> None:
    lab.shell("tc qdisc add dev lan0 root handle 7: mq")
    lab.shell("tc qdisc add dev lan0 parent 7:4 pfifo limit 301; ethtool -L lan0 rx 2 tx 2")
    path = lab.profile("edge", "match: [{kind: veth, name: lan0}]\nqdisc: {kind: noqueue}\n")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    assert leaves(lab) == {}
    removed(lab, path)
    assert leaves(lab)[3] == "pfifo 301"
