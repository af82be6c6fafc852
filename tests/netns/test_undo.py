"""A refused write is undone down to the parameters of what it took away, closed queues' too."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel import Kernel
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns

PROFILE = {
    "name": "p",
    "match": [{"kind": "veth", "name": "v0"}],
    "qdisc": {"kind": "pfifo", "limit": 77},
}


@pytest.mark.parametrize("root", ["mq", "bfifo"])
def test_leaves_come_back_with_their_parameters(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    ifindex = netns.veth("v0", 2)
    if root == "mq":
        netns.sh("tc qdisc add dev v0 root handle 7: mq")
        netns.sh("tc qdisc replace dev v0 parent 7:1 bfifo limit 3300")
        netns.sh("tc qdisc replace dev v0 parent 7:2 bfifo limit 3400")
        netns.sh("ethtool -L v0 tx 1")
    else:
        netns.sh("tc qdisc add dev v0 root handle 7: bfifo limit 3300")
    before = shown(netns)
    kernel = Kernel()
    card = Card(kernel, read_nic(kernel, ifindex, "v0"))
    loaded = [LoadedProfile(Profile.of(PROFILE), "", {})]
    baseline = Baseline(tmp_path / "baseline.json", "boot")
    card.aim(plan_host(loaded, read_host(kernel)).targets.get(ifindex), baseline)
    replace = kernel.rtnl.replace_qdisc

    def refuse(index: int, parent: int, handle: int, kind: str, values: Mapping[str, int]) -> None:
        if values.get("limit") == 77:
            raise KernelError("replace", "qdisc", errno.EINVAL)
        replace(index, parent, handle, kind, values)

    monkeypatch.setattr(kernel.rtnl, "replace_qdisc", refuse)
    outcome = reconcile_card(card, baseline)
    assert outcome.error is not None
    assert shown(netns) == before
    card.close()


def shown(netns: Namespace) -> list[tuple[str, str, object]]:
    """Every qdisc's place, kind and limit."""
    found = json.loads(netns.sh("tc -j qdisc show dev v0"))
    return sorted(
        (
            entry.get("parent", "root").rpartition(":")[2],
            entry["kind"],
            entry.get("options", {}).get("limit"),
        )
        for entry in found
    )
