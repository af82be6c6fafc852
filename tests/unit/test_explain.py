"""What ``netunedctl explain`` says of described machines, and that it says what is so.

Each file in ``golden/explain`` is one case:

    about:     what the case is for
    machine:   a described machine
    files:     further files of that host: path -> text
    profiles:  name -> the text of its file
    commands:  the words after ``netunedctl explain``
    expected:  what each prints. ``NETUNED_WRITE_GOLDEN=1`` writes it where it differs, to be read
               as somebody who is new here would, before it is committed
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netuned.cli import explain as command
from netuned.cli.main import run
from netuned.cli.text import Screen
from netuned.cpuset import CpuSet
from netuned.errors import NetunedError
from netuned.hardware.topology import read_topology
from netuned.kernel.recorded import File, RecordedKernel
from netuned.placement.objective import Card, Places, Score, score
from netuned.planning.elsewhere import Elsewhere, Seated
from netuned.planning.explain import explain
from netuned.planning.planner import plan_host
from netuned.planning.whynot import SERVES
from netuned.profiles.loader import DEFAULT_DIRECTORIES, ProfileSet, load
from netuned.snapshots import offline
from netuned.snapshots.described import machine

GOLDEN = Path(__file__).with_name("golden") / "explain"
CASES = sorted(GOLDEN.glob("*.yaml"))
EXPECTED = "\nexpected: |\n"
KEYS = {"about", "machine", "files", "profiles", "commands", "expected"}


def profiles(**texts: str) -> ProfileSet:
    """Profiles as of files in /etc."""
    files = {f"{name}.yaml": text.encode() for name, text in texts.items()}
    found = load(DEFAULT_DIRECTORIES, recorded={DEFAULT_DIRECTORIES[0]: files})
    assert not found.errors
    return found


def arguments(words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words.split())


def said(kernel: RecordedKernel, loaded: ProfileSet, words: str) -> str:
    """What ``netunedctl explain`` with these words prints, on either of its outputs."""
    asked = arguments(words)
    try:
        found = command.look(kernel, loaded, asked.nic)
        return command.show(found, kernel, asked.queue, asked.why_not, Screen())
    except NetunedError as error:
        return f"netunedctl: {error}\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_explanation_is_golden(path: Path) -> None:
    text = path.read_text()
    case: dict[str, Any] = yaml.safe_load(text)
    assert not case.keys() - KEYS
    kernel = machine(case["machine"])
    for name, content in case.get("files", {}).items():
        kernel.tree.add(name, File(content.encode()))
    loaded = profiles(**case["profiles"])
    shown = "\n".join(
        f"$ netunedctl explain {words}\n{said(kernel, loaded, words)}" for words in case["commands"]
    )
    if shown != case["expected"] and os.environ.get("NETUNED_WRITE_GOLDEN") == "1":
        body = "".join(f"  {line}\n" if line else "\n" for line in shown.splitlines())
        path.write_text(text.partition(EXPECTED)[0] + EXPECTED + body)
    assert shown == case["expected"]
    lines = [line for line in shown.splitlines() if not line.startswith("netunedctl:")]
    assert max(map(len, lines)) <= 80


TOPOLOGY = read_topology(machine("nodes: 2\nl3s: 2\ncores: 2\nthreads: 2\n").files)
PLACES = Places(TOPOLOGY)
CPUS = st.integers(0, len(TOPOLOGY.online) - 1)
SETS = st.integers(1, TOPOLOGY.online.bits).map(CpuSet)


@st.composite
def placements(draw: st.DrawFn) -> dict[int, Seated]:
    """Cards with any pools, homes and layouts."""
    seated = {}
    for ifindex in range(draw(st.integers(1, 3))):
        served = draw(st.lists(CPUS, min_size=1, max_size=5))
        queues = range(len(served))
        pool = draw(SETS)
        card = Card(
            pool,
            pool & draw(SETS) or pool,
            draw(st.sampled_from(("", "bond0"))),
            tuple(draw(st.lists(st.integers(-1, 7), max_size=5))),
            frozenset(draw(st.lists(st.sampled_from(queues), max_size=1))),
        )
        layout = tuple(CpuSet(1 << cpu) for cpu in served)
        seated[ifindex] = Seated(f"eth{ifindex}", card, layout)
    return seated


@given(placements(), st.data())
def test_a_change_is_the_difference_of_two_scores(
    seated: dict[int, Seated], data: st.DataObject
) -> None:
    ifindex = data.draw(st.sampled_from(sorted(seated)))
    one = seated[ifindex]
    queue, cpu = data.draw(st.sampled_from(range(len(one.layout)))), data.draw(CPUS)
    layout = tuple(CpuSet(1 << cpu) if n == queue else at for n, at in enumerate(one.layout))
    moved = seated | {ifindex: one._replace(layout=layout)}
    before, after = (
        score(PLACES, [(card, layout) for _, card, layout in cards.values()])
        for cards in (seated, moved)
    )
    difference = Score(*(new - old for old, new in zip(before, after, strict=True)))
    assert Elsewhere(PLACES, seated).change(ifindex, queue, cpu) == difference


def every_verdict(path: Path) -> Iterator[tuple[CpuSet, int, str]]:
    """(The CPUs of a queue, a CPU, its rule), of all cards of a golden case that are placed."""
    case = yaml.safe_load(path.read_text())
    kernel = machine(case["machine"])
    loaded = profiles(**case["profiles"])
    host, desired = offline.host_and_desired(kernel, loaded)
    for ifindex in desired.targets:
        found = explain(loaded.profiles, host, desired, ifindex, offline.limits_of(kernel))
        for queue in found.queues:
            for cpu in host.topology.possible:
                yield queue.cpus, cpu, found.verdict(queue.queue, cpu).rule


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_there_is_a_verdict_on_every_cpu(path: Path) -> None:
    for cpus, cpu, rule in every_verdict(path):
        assert (cpu in cpus) is (rule in (SERVES, "may"))


def test_an_interrupt_that_the_kernel_manages_stays() -> None:
    kernel = machine("cores: 4\ncards: [{name: eth0, driver: ice, queues: 2, irqs: 3}]\n")
    loaded = profiles(edge="match: {}\nirq: {cpus: local}\n")
    host, _ = offline.host_and_desired(kernel, loaded)
    nic = replace(host.nics[2], managed=frozenset(host.nics[2].interrupts))
    host = replace(host, nics={2: nic})
    found = explain(
        loaded.profiles, host, plan_host(loaded.profiles, host), 2, offline.limits_of(kernel)
    )
    assert found.queue(1).cpus == CpuSet.parse_list("3")
    assert "the kernel manages it" in found.queue(1).why
    assert found.verdict(1, 0).text.endswith("the kernel manages it")


def test_a_card_without_interrupts_is_placed_for_steering() -> None:
    kernel = machine("cores: 4\ncards: [{name: lan0, driver: veth, queues: 2}]\n")
    loaded = profiles(lan="match: {kind: veth}\nirq: {cpus: local}\nxps: {cpus: auto}\n")
    text = said(kernel, loaded, "lan0")
    assert "the card has none of its own" in text
    assert "of queue 0" not in text


def test_named_sets_do_not_take_the_blame_for_each_other() -> None:
    kernel = machine("nodes: 2\ncores: 4\ncards: [{name: eth0, driver: ice}]\n")
    loaded = profiles(
        edge="match: {}\ncpus:\n  app: last(1, online)\n  irq: local - app\nirq: {cpus: irq}\n"
    )
    assert "not in `local` (/etc/netuned/profiles.d/edge.yaml:4)" in said(
        kernel, loaded, "eth0 --why-not 5"
    )


def test_names_from_outside_are_shown_safely() -> None:
    kernel = machine('cores: 2\ncards: [{name: "e\\e[31m", driver: ice}]\n')
    text = said(kernel, profiles(edge="match: {}\nirq: {cpus: local}\n"), "e\x1b[31m 0")
    assert "\x1b" not in text
    assert "e\\x1b[31m queue 0" in text


@pytest.mark.parametrize("words", ["eth0 --why-not x", "eth0 -1", "eth0 1.5", "eth0 --why-not ²"])
def test_what_is_no_number_is_wrong_usage(words: str) -> None:
    with pytest.raises(SystemExit) as left:
        arguments(words)
    assert left.value.code == 2


def test_json_has_the_same_facts() -> None:
    kernel = machine("cores: 4\ncards: [{name: eth0, driver: ice, queues: 2}]\n")
    loaded = profiles(edge="match: {}\nirq: {cpus: local}\n")
    found = command.look(kernel, loaded, "eth0")
    card: Any = command.as_json(found, kernel, None, None)
    assert (card["name"], card["profile"], card["cpus"]["cpus"]) == ("eth0", "edge", "0-3")
    assert [queue["cpus"] for queue in card["queues"]] == ["1", "2"]
    queue: Any = command.as_json(found, kernel, 1, None)
    assert queue["queue"] == card["queues"][1]
    assert {entry["cpus"]: entry["rule"] for entry in queue["others"]} == {
        "0": "boot",
        "1": "cores",
        "3": "equal",
    }
    why_not: Any = command.as_json(found, kernel, None, 1)
    assert [(v["queues"], v["rule"]) for v in why_not["verdicts"]] == [("0", "serves")]
    assert why_not["verdicts"][0]["queues_value"] == [0]


def test_json_has_values_beside_their_text() -> None:
    kernel = machine("cores: 4\ncards: [{name: eth0, driver: ice, queues: 2}]\n")
    loaded = profiles(edge="match: {}\nirq: {cpus: local}\nrps: {cpus: 0-1}\n")
    card: Any = command.as_json(command.look(kernel, loaded, "eth0"), kernel, None, None)
    assert card["cpus"]["cpus_value"] == [0, 1, 2, 3]
    assert [queue["cpus_value"] for queue in card["queues"]] == [[1], [2]]
    assert (card["queues"][0]["rps"]["value"], card["queues"][0]["rps"]["data"]) == ("0-1", [0, 1])
    assert card["queues"][0]["rss"]["data"] is None


def test_a_card_without_a_profile_has_one_sentence_in_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "machine").write_text("cores: 2\ncards: [{name: en0, driver: ice, queues: 2}]\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/edge.yaml").write_text("match: [{driver: igb}]\n")
    where = ["--snapshot", str(tmp_path / "machine"), "--profiles", str(tmp_path / "etc")]
    assert run(["explain", "en0", "0", "--json", *where]) == 1
    assert "no profile matches en0" in capsys.readouterr().err
