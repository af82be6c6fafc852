"""``netunedctl plan FILE`` on this host: it says what the daemon does once the file is dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

WEB = "match: {kind: veth, name: peer0}\nrps: {cpus: 0}\n"
EDGE = """\
extends: common
match: {kind: veth, name: "lan*"}
channels: {combined: 4}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 100}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=8)
        made.profile("common", "rps: {cpus: 0}\n")
        made.profile("web", WEB)
        yield made


def plan(lab: Lab, *words: str) -> str:
    """Run it in the namespace, with the profiles that the daemon has."""
    return lab.ctl("plan", *words, "--profiles", str(lab.profiles), inside=True).stdout


def foretold(lab: Lab, *words: str) -> list[tuple[str, str]]:
    """The changes of a plan, in order: which setting, and to what."""
    answer: dict[str, Any] = json.loads(plan(lab, "--json", *words))
    assert (answer["problems"], answer["notes"]) == ([], [])
    return [
        (" ".join(filter(None, (change["ifname"], change["tunable"], change["key"]))), after)
        for change in answer["changes"]
        for after in [change["after"]]
    ]


def made(lab: Lab) -> list[tuple[str, str]]:
    """The changes that the daemon has made, in order, as its log tells."""
    return re.findall(r"INFO Set (.+): .+ -> (.+)$", lab.logged(), re.MULTILINE)


def test_the_daemon_does_exactly_what_was_planned(lab: Lab, tmp_path: Path) -> None:
    lab.start()
    lab.wait_state("peer0", "in-sync")
    before = made(lab)
    file = tmp_path / "edge.yaml"
    file.write_text(EDGE)
    file.chmod(0o666)  # whoever may write it: nothing is written
    expected = foretold(lab, str(file))
    assert len(expected) > 8
    assert made(lab) == before
    lab.profile("edge", EDGE)
    lab.wait_state("lan0", "in-sync")
    assert made(lab) == [*before, *expected]
    assert plan(lab, str(file)).startswith("Nothing to do: every card")
    assert plan(lab, str(file), "lan0") == "Nothing to do: lan0 is as its profile edge says.\n"


def test_a_new_version_changes_what_differs(lab: Lab, tmp_path: Path) -> None:
    lab.start()
    lab.profile("edge", EDGE)
    lab.wait_state("lan0", "in-sync")
    before = made(lab)
    file = tmp_path / "common.yaml"
    file.write_text("rps: {cpus: 1}\n")
    expected = foretold(lab, str(file))
    assert expected == [(f"lan0 rps rx-{queue}", "1") for queue in range(4)]
    lab.profile("common", file.read_text())
    lab.wait(lambda: made(lab) != before, "the drop")
    lab.wait_state("lan0", "in-sync")
    assert made(lab) == [*before, *expected]


def test_a_card_alone_as_the_daemon_plans_it(lab: Lab) -> None:
    lab.start()
    lab.wait_state("peer0", "in-sync")
    lab.ctl("pause")
    lab.profile("edge", EDGE)
    lab.profile("web", "match: {kind: veth, name: peer0}\nrps: {cpus: 1}\n")
    lab.ctl("reload")
    both = json.loads(lab.ctl("plan", "--json").stdout)["changes"]
    assert {change["ifname"] for change in both} == {"lan0", "peer0"}
    one = json.loads(lab.ctl("plan", "lan0", "--json").stdout)["changes"]
    assert one == [change for change in both if change["ifname"] == "lan0"]
    refused = lab.ctl("plan", "lan1", check=False)
    assert refused.returncode == 1
    assert "there is no card named lan1; did you mean `lan0`? there are: " in refused.stderr
