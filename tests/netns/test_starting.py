"""Whoever asks a daemon that is starting is told nothing that is not so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netuned.errors import BusError
from netuned.plan import Plan
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

EDGE = "match: {kind: veth, name: lan0}\nrps: {cpus: 0}\n"


class SlowLab(Lab):
    """A daemon that is held up where a file of ``words`` says."""

    module = "tests.netns.slowed"

    @property
    def words(self) -> Path:
        return self.directory / "words"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "SLOWED": str(self.words)}


@pytest.fixture
def lab() -> Iterator[SlowLab]:
    with SlowLab() as made:
        made.words.mkdir()
        made.add_pair("lan0", "peer0", queues=2)
        made.profile("edge", EDGE)
        yield made


def answers(lab: Lab) -> bool:
    try:
        return bool(lab.status())
    except BusError:
        return False


def plan(lab: Lab) -> Plan:
    with lab.asking() as client:
        return client.plan()


def masks(lab: Lab) -> list[str]:
    return [lab.attribute("lan0", f"rx-{queue}", "rps_cpus")[-1] for queue in range(2)]


def test_before_it_knows_the_cards_it_says_so_and_plans_wait(lab: SlowLab) -> None:
    hold = lab.words / "before-host"
    hold.touch()
    lab.start(wait=False)
    lab.wait(lambda: answers(lab), "D-Bus")
    with ThreadPoolExecutor(2) as pool:
        planned = pool.submit(plan, lab)
        asked = {
            words: pool.submit(lab.ctl, *words.split(), check=False)
            for words in (
                "status --exit-code",
                "status lan0",
                "profiles",
            )
        }
        overall = asked["status --exit-code"].result()
        assert overall.returncode == 3
        assert overall.stdout == "netuned is starting: it has not looked at everything yet.\n\n"
        assert asked["profiles"].result().stdout == overall.stdout
        one = asked["status lan0"].result()
        assert one.returncode == 1
        assert "netuned is starting, and has not found lan0 yet; ask again" in one.stderr
        with lab.asking() as client, pytest.raises(BusError, match="is starting"):
            client.pause("lan0")
        assert lab.status()["manager"]["state"] == "starting"
        assert not planned.done()
        assert masks(lab) == ["0", "0"]
        hold.unlink()
        assert planned.result().changes or masks(lab) == ["1", "1"]
    lab.wait_state("lan0", "in-sync")
    assert not plan(lab).changes


def test_until_each_card_was_looked_at_it_is_starting(lab: SlowLab) -> None:
    hold = lab.words / "before-lan0"
    hold.touch()
    lab.start(wait=False)
    lab.wait(lambda: answers(lab), "D-Bus")
    lab.wait_state("lan0", "applying")
    assert lab.status()["manager"]["state"] == "starting"
    done = lab.ctl("status", "--exit-code", check=False)
    assert done.returncode == 3
    assert done.stdout.startswith("netuned is starting")
    assert "lan0   veth    edge     applying" in done.stdout
    hold.unlink()
    lab.wait(lambda: lab.status()["manager"]["state"] == "in-sync", "the end of the start")
    assert masks(lab) == ["1", "1"]
    assert json.loads(lab.ctl("plan", "--json").stdout)["changes"] == []
