"""What was there before netuned, against the real kernel: what it is bound to, what comes back."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from netuned.reconcile.baseline import DEPARTED
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

RPS = "match: [{kind: veth, name: [lan0, lan7]}]\nrps: {cpus: 1}\n"
FIFO = "match: [{kind: veth, name: lan0}]\nqdisc: {kind: pfifo%s}\n"
DENY = (
    "match: [{kind: veth, name: lan0}]\nchannels: {rx: max, tx: max}\npolicy: {disruptive: deny}\n"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        yield made


def qdisc(lab: Lab, parent: str) -> dict[str, Any]:
    """The parameters of what is attached there, as tc shows them."""
    shown = json.loads(lab.shell("tc -j qdisc show dev lan0"))
    (found,) = [entry for entry in shown if entry.get("parent", "root") == parent]
    options: dict[str, Any] = {"kind": found["kind"], **found["options"]}
    return options


def limits(lab: Lab, root: str) -> list[int]:
    return [qdisc(lab, f"{root}:{queue}")["limit"] for queue in range(1, 5)]


def rps(lab: Lab, ifname: str = "lan0") -> list[str]:
    return [lab.attribute(ifname, f"rx-{queue}", "rps_cpus") for queue in range(4)]


@pytest.mark.parametrize("running", [True, False])
def test_a_card_that_was_in_another_namespace_gets_its_own_values_back(
    lab: Lab, running: bool
) -> None:
    lab.shell("echo 1 > /sys/class/net/lan0/queues/rx-3/rps_cpus")
    before = rps(lab)
    path = lab.profile("edge", RPS)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    tuned = rps(lab)
    assert tuned != before
    with Lab() as other:
        if not running:
            lab.stop(signal.SIGKILL)
        lab.shell(f"ip link set lan0 netns {other.namespace}")
        if running:
            lab.wait(lambda: not lab.card("lan0"), "that it left")
        assert rps(other) == tuned, "a move leaves masks as they are"
        other.shell("ip link set lan0 name lan7")
        other.shell(f"ip link set lan7 netns {lab.namespace}")
        if not running:
            lab.start()
        lab.wait_state("lan7", "in-sync")
    path.unlink()
    lab.wait_state("lan7", "unmanaged")
    assert rps(lab, "lan7") == before


def test_the_card_that_left_last_is_remembered_past_many(lab: Lab) -> None:
    """Though it was recorded first; all leave faster than netuned looks."""
    lab.shell("echo 1 > /sys/class/net/lan0/queues/rx-3/rps_cpus")
    before = rps(lab)
    path = lab.profile("edge", RPS.replace("lan7", "c*"))
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.add_pairs([(f"c{number}", f"d{number}") for number in range(DEPARTED + 2)], queues=1)
    lab.wait(
        lambda: sum(nic["state"] == "in-sync" for nic in lab.status()["nics"]) == DEPARTED + 3,
        "that all are in sync",
    )
    batch = lab.directory / "batch"
    with Lab() as other:
        gone = "".join(f"link del c{number}\n" for number in range(DEPARTED + 2))
        batch.write_text(f"{gone}link set lan0 netns {other.namespace}\n")
        lab.run("ip", "-batch", str(batch))
        lab.wait(lambda: not lab.card("lan0"), "that it left")
        other.shell(f"ip link set lan0 netns {lab.namespace}")
        lab.wait_state("lan0", "in-sync")
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    assert rps(lab) == before


def test_another_card_under_the_same_number_gets_nothing_of_the_old_one(lab: Lab) -> None:
    ifindex = lab.shell("cat /sys/class/net/lan0/ifindex").strip()
    lab.shell("echo 1 > /sys/class/net/lan0/queues/rx-3/rps_cpus")
    path = lab.profile("edge", RPS)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.stop(signal.SIGKILL)
    lab.shell(
        "ip link del lan0; ip link add name lan0 index "
        f"{ifindex} numrxqueues 4 type veth peer name peer0; ip link set lan0 up"
    )
    path.unlink()
    fresh = rps(lab)
    lab.start()
    lab.wait(lambda: lab.card("lan0"), "the new card")
    assert rps(lab) == fresh == ["0"] * 4


def test_a_parameter_that_is_named_no_more_is_the_kernels_again(lab: Lab) -> None:
    lab.profile("edge", FIFO % "")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    kernels = limits(lab, "4e54")
    lab.profile("edge", FIFO % ", limit: 50")
    lab.ctl("reload")
    assert limits(lab, "4e54") == [50] * 4 != kernels
    lab.profile("edge", FIFO % "")
    lab.ctl("reload")
    assert limits(lab, "4e54") == kernels
    writes = lab.status()["manager"]["writes"]
    lab.shell("tc qdisc change dev lan0 parent 4e54:2 pfifo limit 77")  # named by nobody
    lab.ctl("apply")
    assert lab.status()["manager"]["writes"] == writes
    assert qdisc(lab, "4e54:2")["limit"] == 77


def test_a_parameter_from_before_comes_back_with_its_key(lab: Lab) -> None:
    lab.shell("tc qdisc replace dev lan0 root handle 9: mq")
    for queue in range(1, 5):
        lab.shell(f"tc qdisc replace dev lan0 parent 9:{queue} pfifo limit 33")
    path = lab.profile("edge", FIFO % ", limit: 50")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    assert limits(lab, "9") == [50] * 4
    lab.stop(signal.SIGKILL)
    lab.profile("edge", FIFO % "")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    assert limits(lab, "9") == [33] * 4
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    assert limits(lab, "9") == [33] * 4


def test_channels_that_netuned_never_wrote_are_not_put_back(lab: Lab) -> None:
    lab.shell("ethtool -L lan0 rx 2 tx 2")
    path = lab.profile("edge", DENY)
    lab.start()
    lab.wait_state("lan0", "partial")
    lab.shell("ethtool -L lan0 rx 3 tx 3")
    lab.wait(lambda: len(lab.card("lan0")["queues"]) == 6, "the new queues")
    path.unlink()
    lab.ctl("reload")
    lab.wait_state("lan0", "unmanaged")
    assert lab.shell("ethtool -l lan0").split("settings:")[1].split()[:4] == [
        "RX:",
        "3",
        "TX:",
        "3",
    ]


def test_a_denied_disruption_is_not_made_by_restoring_either(lab: Lab) -> None:
    lab.shell("ethtool -L lan0 rx 2 tx 2")
    lab.profile("edge", "match: [{kind: veth, name: lan0}]\nchannels: {rx: max, tx: max}\n")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    path = lab.profile("edge", RPS + "policy: {disruptive: deny}\n")
    lab.ctl("reload")
    assert len(lab.card("lan0")["queues"]) == 8
    settings = {entry["tunable"]: entry for entry in lab.card("lan0")["settings"]}
    assert settings["channels"]["reason"] == "policy.disruptive is deny: not put back"
    path.unlink()
    lab.ctl("reload")
    lab.wait_state("lan0", "unmanaged")
    assert len(lab.shell("ls -d /sys/class/net/lan0/queues/*").split()) == 4


@pytest.mark.parametrize("damage", ["cut", "edited"])
def test_a_damaged_file_is_told_and_not_used(lab: Lab, damage: str) -> None:
    path = lab.profile("edge", RPS)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.stop(signal.SIGKILL)
    file = lab.directory / "state" / "baseline.json"
    text = file.read_text()
    file.write_text(text[:-9] if damage == "cut" else text.replace('"cpus": ""', '"cpus": "0"'))
    path.unlink()
    tuned = rps(lab)
    lab.start()
    (note,) = lab.status()["manager"]["problems"]
    assert "baseline.json" in note
    assert "cannot be put back" in note
    assert note in lab.logged()
    assert rps(lab) == tuned
    assert (file.parent / "baseline.json.bad").exists()
    for _ in range(2):
        said = lab.ctl("restore", check=False)
        assert said.returncode == 1
        assert "what was there before netuned is not known" in said.stderr
        lab.profile("edge", RPS)
        lab.wait_state("lan0", "in-sync")
        lab.stop(signal.SIGKILL)
        lab.start()  # nor after a restart, with a file of its own


def test_that_values_were_lost_is_known_until_the_next_boot(lab: Lab) -> None:
    """Also where the process that found out had nothing to save, and was killed."""
    path = lab.profile("edge", RPS)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.stop(signal.SIGKILL)
    (lab.directory / "state" / "baseline.json").write_text("{")
    path.unlink()
    lab.start()
    lab.stop(signal.SIGKILL)
    lab.profile("edge", RPS)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    (note,) = lab.status()["manager"]["problems"]
    said = lab.ctl("restore", check=False)
    assert said.returncode == 1
    assert "what was there before netuned is not known" in note
    assert note in said.stderr


def test_without_a_place_for_the_baseline_nothing_is_written(lab: Lab) -> None:
    before = rps(lab)
    state = lab.directory / "state"
    state.write_text("a file where a directory should be")
    lab.profile("edge", RPS)
    lab.start()
    lab.wait_state("lan0", "degraded")
    assert rps(lab) == before
    error = lab.card("lan0")["last_error"]
    assert "baseline.json" in error
    assert "EEXIST" in error or "ENOTDIR" in error
    assert "nothing was changed" in error
    assert lab.status()["manager"]["writes"] == 0
    state.unlink()
    lab.wait_state("lan0", "in-sync")
    assert rps(lab) != before
