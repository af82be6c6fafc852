"""``netunedctl explain`` on this host, without the daemon: it says what the daemon does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from netuned.cpuset import CpuSet
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

PROFILE = """\
match: {kind: veth, name: "lan*"}
channels: {combined: auto}
irq: {cpus: local}
rps: {cpus: 0}
xps: {cpus: auto}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=8)
        yield made


def explain(lab: Lab, *words: str) -> str:
    """Run it in the namespace, with the profiles that the daemon has."""
    return lab.ctl("explain", *words, "--profiles", str(lab.profiles), inside=True).stdout


def test_it_says_what_the_daemon_does(lab: Lab) -> None:
    path = lab.profile("edge", PROFILE)
    foretold: dict[str, Any] = json.loads(explain(lab, "lan0", "--json"))
    lab.start()
    lab.wait_state("lan0", "partial")  # veth has no interrupts
    card = lab.card("lan0")
    found: dict[str, Any] = json.loads(explain(lab, "lan0", "--json"))
    assert found["queues"] == foretold["queues"]
    assert found["profile"] == card["profile"] == "edge"
    assert found["matches"][0]["place"] == f"{path}:1"
    assert len(found["queues"]) == sum(queue["kind"] == "rx" for queue in card["queues"])
    for queue in found["queues"]:
        for tunable, name in (("rps", f"rx-{queue['queue']}"), ("xps", f"tx-{queue['queue']}")):
            has = CpuSet.parse_mask(lab.attribute("lan0", name, f"{tunable}_cpus"))
            if queue[tunable]["value"] is not None:  # a single transmit queue has no mask
                assert str(has) == queue[tunable]["value"]


def test_every_card_and_queue_can_be_asked_for(lab: Lab) -> None:
    lab.profile("edge", PROFILE)
    assert "Profile edge:" in explain(lab, "lan0")
    nearest = " ".join(explain(lab, "peer0").split())
    assert nearest.endswith("name is peer0, not lan*")
    assert "lan0 queue 0 is on CPU 0" in explain(lab, "lan0", "0")
    assert "serves queue 0" in explain(lab, "lan0", "--why-not", "0")
