"""Shapers, classes and filters that netuned cannot make again: no write of its removes one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

TBF = "tbf rate 50mbit burst 64kb latency 50ms"
LEAVES = {
    "htb": f"""
tc qdisc replace dev lan0 parent 7:1 handle 10: htb default 1
tc class add dev lan0 parent 10: classid 10:1 htb rate 50mbit
tc qdisc add dev lan0 parent 10:1 handle 100: {TBF}
tc filter add dev lan0 parent 10: protocol ip u32 match u32 0 0 classid 10:1
""",
    "tbf": f"tc qdisc replace dev lan0 parent 7:1 handle 10: {TBF}",
    "overhead": "tc qdisc replace dev lan0 parent 7:1 handle 10: stab overhead 9 pfifo limit 33",
}
OTHERS = "match: [{kind: veth, name: lan0}]\nrps: {cpus: 1}\n"
FIFO = f"{OTHERS}qdisc: {{kind: pfifo, limit: 77}}\n"
ROOT = f"{OTHERS}qdisc: {{kind: noqueue}}\n"
SHOWN = """
cd /sys/class/net/lan0/queues; grep -H . rx-*/rps_cpus
tc -d qdisc show dev lan0 |
  sed 's/fifo\\(_fast\\)\\? [0-9a-f]*:/fifo\\1/; s/direct_packets_stat [0-9]*//' | sort
tc class show dev lan0 | grep -v 'class mq' | sort
tc filter show dev lan0 parent 10: 2> /dev/null
"""


@pytest.fixture(params=LEAVES)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.shell("tc qdisc add dev lan0 root handle 7: mq")
        made.shell(LEAVES[request.param])
        made.shell("echo 3 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
        yield made


def shown(lab: Lab) -> str:
    return lab.run("sh", "-c", SHOWN).stdout


def limit(lab: Lab, queue: int) -> int | None:
    """What a queue's qdisc has at most, where it is a pfifo."""
    found = json.loads(lab.shell("tc -j qdisc show dev lan0"))
    (leaf,) = [entry for entry in found if entry.get("parent") == f"7:{queue}"]
    return leaf["options"]["limit"] if leaf["kind"] == "pfifo" else None


def in_force(lab: Lab, text: str = FIFO, state: str = "partial") -> Path:
    path = lab.profile("edge", text)
    lab.start()
    lab.wait_state("lan0", state)
    return path


def why(lab: Lab) -> str:
    """Why the qdiscs are not as the profile says, of which the rest is in force."""
    settings = {entry["tunable"]: entry for entry in lab.card("lan0")["settings"]}
    assert settings["rps"]["state"] == "in-sync"
    assert settings["qdisc"]["state"] == "unsupported"
    reason: str = settings["qdisc"]["reason"]
    return reason


@pytest.mark.parametrize("policy", ["allow", "deny"])
def test_one_leaf_stays_and_the_others_are_set_and_put_back(lab: Lab, policy: str) -> None:
    before = shown(lab)
    path = in_force(lab, f"{FIFO}policy: {{disruptive: {policy}}}\n")
    assert "at queue 0 could not be put back; remove it first" in why(lab)
    assert limit(lab, 2) == 77
    with lab.asking() as client:
        client.restore()
    assert shown(lab) == before
    with lab.asking() as client:
        client.reconcile()
    assert limit(lab, 2) == 77
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    assert shown(lab) == before


def test_a_root_is_not_replaced_over_one(lab: Lab) -> None:
    before = shown(lab).replace("rx-0/rps_cpus:3", "").replace("rx-1/rps_cpus:0", "")
    in_force(lab, ROOT)
    assert "at queue 0 could not be put back; remove it first" in why(lab)
    after = shown(lab).replace("rx-0/rps_cpus:2", "").replace("rx-1/rps_cpus:2", "")
    assert after == before


def test_a_trial_over_one_ends(lab: Lab) -> None:
    before = shown(lab)
    lab.start()
    with lab.asking() as client:
        client.pause("lan0")
        lab.profile("edge", FIFO)
        client.reload()
        client.begin_trial("lan0", 30)
        assert limit(lab, 2) == 77
        client.roll_back()
        assert client.status().manager.pending_confirm == ""
    assert shown(lab) == before


def test_one_that_came_in_the_place_of_netuneds_stays_until_it_is_removed(lab: Lab) -> None:
    before = shown(lab)
    kind = next(kind for kind in LEAVES if kind in before)
    lab.shell("tc qdisc replace dev lan0 parent 7:1 handle 20: pfifo limit 9")
    path = in_force(lab, state="in-sync")
    assert limit(lab, 1) == 77
    lab.shell(LEAVES[kind])
    lab.wait_state("lan0", "partial")
    assert "at queue 0 could not be put back" in why(lab)
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    assert shown(lab) == before, "it stays, and all else is back"
    assert "keeping its record" in lab.logged()
    lab.profile("edge", FIFO)
    lab.wait_state("lan0", "partial")
    lab.shell("tc qdisc replace dev lan0 parent 7:1 handle 30: bfifo limit 9000")
    lab.wait(lambda: limit(lab, 1) == 77, "netuned's own, now that nothing is in the way")


@pytest.mark.parametrize("lab", ["tbf"], indirect=True)
def test_what_comes_back_has_its_handle(lab: Lab) -> None:
    """Filters and scripts name a qdisc by it; a handle that is another's by then is not taken."""

    def handles() -> list[str]:
        lines = lab.shell("tc qdisc show dev lan0").splitlines()
        return sorted(" ".join(line.split()[1:5]) for line in lines)

    lab.shell("tc qdisc replace dev lan0 parent 7:1 handle 21: pfifo limit 9")
    lab.shell("tc qdisc replace dev lan0 parent 7:2 handle 22: bfifo limit 9000")
    before = handles()
    path = in_force(lab, f"{OTHERS}qdisc: {{kind: noqueue}}\n", "in-sync")
    assert len(handles()) == 1
    lab.stop()
    lab.start()
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    assert handles() == before
    lab.profile("edge", f"{OTHERS}qdisc: {{kind: pfifo, limit: 77}}\n")
    lab.wait_state("lan0", "in-sync")
    lab.shell("tc qdisc replace dev lan0 parent 7:1 handle 22: pfifo limit 77")
    lab.wait_state("lan0", "in-sync")
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    found = handles()
    assert len({line.split()[1] for line in found}) == 3, "each has one of its own"
    assert [line.split()[0] for line in found] == ["bfifo", "mq", "pfifo"]
