"""Features on a real kernel: of a veth card, which has many, some that can be set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

CARD = "lan0"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair(CARD, "peer0", queues=1)
        yield made


def features(lab: Lab) -> dict[str, str]:
    """By the kernel's names, as ethtool prints them: ``on``, ``off``, with what else it says."""
    lines = lab.shell(f"ethtool -k {CARD}").splitlines()[1:]
    return {name.strip(): state for name, _, state in (line.partition(": ") for line in lines)}


def drop(lab: Lab, said: str) -> Any:
    return lab.profile("edge", f"match: [{{kind: veth, name: {CARD}}}]\noffloads: {{{said}}}\n")


def setting(lab: Lab) -> dict[str, Any]:
    (found,) = [s for s in lab.card(CARD)["settings"] if s["tunable"] == "offloads"]
    return dict(found)


def test_what_can_be_set_is_set_repaired_and_put_back(lab: Lab) -> None:
    before = features(lab)
    path = drop(lab, "tso: off, rx-gro-list: on, gro: on")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    now = features(lab)
    assert {now[name] for name in now if name.startswith("tx-tcp")} == {"off"}
    assert now["rx-gro-list"] == "on"
    lab.shell(f"ethtool -K {CARD} rx-gro-list off tso on")
    lab.wait(lambda: features(lab) == now, "the repair")
    lab.wait_state(CARD, "in-sync")
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert features(lab) == before


def test_what_the_kernel_takes_along_is_said_and_no_drift_and_comes_back(lab: Lab) -> None:
    before = features(lab)
    assert before["tx-tcp-segmentation"] == "on"
    path = drop(lab, "sg: off")
    plan = json.loads(lab.ctl("plan", "--offline", "--json", check=False).stdout or "{}")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert features(lab)["tx-tcp-segmentation"] == "off [requested on]"
    assert json.loads(lab.ctl("plan", "--json").stdout)["changes"] == []
    assert "takes tx-tcp-segmentation" in str(plan) or not plan
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert features(lab) == before


def test_what_is_fixed_is_in_sync_or_named_and_the_rest_set(lab: Lab) -> None:
    before = features(lab)
    assert before["highdma"].startswith("on")
    assert before["rx-vlan-filter"] == "off [fixed]"
    drop(lab, "rx-vlan-filter: on, netns-local: off, highdma: on, rx-gro-list: on")
    assert "is no feature" in lab.ctl("check", str(lab.profiles / "edge.yaml"), check=False).stdout
    drop(lab, "rx-vlan-filter: on, hsr-fwd-offload: off, rx-gro-list: on")
    lab.start()
    lab.wait(lambda: features(lab)["rx-gro-list"] == "on", "what can be set")
    lab.wait(lambda: setting(lab)["state"] == "unsupported", "the state")
    fixed = "1 of 3 cannot be set: rx-vlan-filter: the driver veth has it fixed off"
    assert fixed in str(setting(lab)["reason"])
    assert features(lab)["rx-vlan-filter"] == "off [fixed]"


def test_what_waited_for_another_before_waits_again(lab: Lab) -> None:
    lab.shell(f"ethtool -K {CARD} sg off")
    before = features(lab)
    assert before["tx-tcp-segmentation"] == "off [requested on]"
    path = drop(lab, "sg: on, tx-tcp-segmentation: on")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert features(lab)["tx-tcp-segmentation"] == "on"
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert features(lab) == before


def test_what_is_put_back_may_wait_for_what_is_wanted_off(lab: Lab) -> None:
    """TSO is asked for again, and comes with scatter-gather, which this profile turns off."""
    before = features(lab)
    drop(lab, "tso: off")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    path = drop(lab, "sg: off")
    lab.wait(lambda: features(lab)["tx-scatter-gather"] == "off", "the other profile")
    lab.wait_state(CARD, "in-sync")
    assert features(lab)["tx-tcp-segmentation"] == "off [requested on]"
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert features(lab) == before
    assert "Cannot" not in lab.logged()


def test_what_needs_a_checksum_that_the_profile_turns_off_is_named(lab: Lab) -> None:
    drop(lab, "tx: off, tso: on, rx-gro-list: on")
    lab.start()
    lab.wait_state(CARD, "partial")
    assert "needs one of tx-checksum-ip-generic, which the profile turns off" in " ".join(
        str(setting(lab)["reason"]).split()
    )
    assert features(lab)["rx-gro-list"] == "on"
