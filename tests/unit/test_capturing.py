"""What a card was set to in a profile's words: what netuned itself set comes out as it was said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from netuned.hardware.host import read_host
from netuned.planning import cpuwords
from netuned.profiles import expression
from netuned.snapshots.capturing import Captured, capture
from tests.unit.daemon import Daemon, on
from tests.unit.machines import topology
from tests.unit.parts import MACHINE
from tests.unit.writable import WritableKernel

SAID = [
    "irq: {spread: all, cpus: 0-2}",
    "irq: {spread: one-per-queue, cpus: local & housekeeping}\nxps: {cpus: auto}",
    "irq: {spread: one-per-queue, cpus: 1-2}\nrps: {cpus: 0-1}",
    "rss: {queues: 0-2}",
    "rss: {queues: 0-1, weights: [3, 1]}",
    "qdisc: {kind: fq, flow_limit: 7}",
]


def of(kernel: WritableKernel, *, whole: bool = False) -> Captured:
    host = read_host(kernel)
    nic = next(nic for nic in host.nics.values() if nic.name == "en0")
    return capture(kernel, host, nic, whole=whole)


@pytest.mark.parametrize("said", SAID)
def test_what_was_set_is_said_again(tmp_path: Path, said: str) -> None:
    async def scenario(daemon: Daemon) -> None:
        assert daemon.state() == "in-sync"
        for whole in (False, True):
            found = of(daemon.kernel, whole=whole)
            assert not found.left
            daemon.drop(found.text())
            await daemon.ask.reload()
            plan = await daemon.ask.plan()
            assert (plan.changes, daemon.state()) == ((), "in-sync")
            for key, words in yaml.safe_load(said).items():
                assert found.profile[key] == words or whole

    on(tmp_path, scenario, text=f"match: [{{name: en0}}]\n{said}\n")


def test_of_a_card_as_it_comes_there_is_little_to_say() -> None:
    found = of(WritableKernel(MACHINE))
    assert found.profile.keys() - {"rings", "coalesce", "channels", "offloads"} == {"match"}


def test_a_set_of_cpus_has_its_plainest_name() -> None:
    machine = topology(nodes=2, cores=4, threads=2)
    nic = next(iter(read_host(WritableKernel(MACHINE)).nics.values()))
    for text in ("online", "first-threads", "node:1", "node:1 & first-threads", "0,3"):
        local = machine.nodes[max(nic.numa_node, 0)]
        meant = expression.evaluate(expression.parse(text), machine, local)
        assert next(cpuwords.exactly(machine, nic, meant)) == text
