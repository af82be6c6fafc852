"""Interrupts for which a CPU has no vector: planned within what it has, and told."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import Host, read_host
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.report import _settings
from netuned.reconcile.tally import Tallies
from netuned.snapshots.described import machine
from netuned.tunables import irq
from tests.unit.writable import WritableKernel

CARDS = "cards: [{name: en0, driver: ice, count: 2, queues: 4}]\n"
MACHINE = f"cores: 4\nisolated: 2-3\n{CARDS}"
SPREAD = {"name": "edge", "match": [{"driver": "ice"}], "irq": {"spread": "one-per-queue"}}


def plan(host: Host, **keys: object) -> Desired:
    profile = Profile.of(SPREAD | keys)
    return plan_host([LoadedProfile(profile, "", {})], host)


def wanted(host: Host, desired: Desired, ifindex: int) -> dict[str, object]:
    return dict(irq.desired(desired.targets[ifindex], host.nics[ifindex], {}))


def test_what_fits_is_placed_and_the_rest_stays() -> None:
    host = replace(read_host(machine(MACHINE)), cpu_vectors=3)
    desired = plan(host)
    placed: Counter[str] = Counter()
    for ifindex in host.nics:
        values = wanted(host, desired, ifindex)
        fit = {key: cpus for key, cpus in values.items() if isinstance(cpus, CpuSet)}
        placed.update(map(str, fit.values()))
        assert {"rxtx-0", "rxtx-1"} <= fit.keys(), "every card has some"
        target = desired.targets[ifindex]
        for queue, cpus in enumerate(target.queue_cpus):
            value = values[f"rxtx-{queue}"]
            if isinstance(value, UnsupportedError):
                assert "has vectors for about 3 interrupts of queues, 4 were to go" in value.why
                assert cpus == CpuSet.parse_list("0-3"), "steering follows where it is"
            else:
                assert cpus == value
    assert placed == {"0": 3, "1": 3}


def test_what_is_there_already_has_its_vectors() -> None:
    """An earlier plan's, of which the kernel refused none, whatever is thought to be left."""
    host = read_host(machine(MACHINE))
    desired = plan(host)
    there = {
        ifindex: replace(nic, affinity=desired.targets[ifindex].queue_cpus)
        for ifindex, nic in host.nics.items()
    }
    host = replace(host, nics={2: there[2], 3: host.nics[3]}, cpu_vectors=3)
    desired = plan(host)
    assert desired.targets[2].crowded == {}
    assert list(desired.targets[3].crowded) == [2, 3]


def test_interrupts_that_a_profile_keeps_count_where_they_are() -> None:
    host = replace(read_host(machine(MACHINE)), cpu_vectors=3)
    nics = {
        ifindex: replace(nic, affinity=(CpuSet.parse_list("0"),) * 4)
        for ifindex, nic in host.nics.items()
    }
    desired = plan(replace(host, nics=nics), irq="keep", xps={"cpus": "auto"})
    assert [target.crowded for target in desired.targets.values()] == [{}, {}]


def test_a_queue_of_two_interrupts_takes_two_vectors() -> None:
    text = "cores: 2\nisolated: 1\ncards: [{name: en0, driver: virtio_net, queues: 4}]\n"
    host = replace(read_host(machine(text)), cpu_vectors=5)
    desired = plan(host, match=[{"driver": "virtio_net"}])
    assert list(desired.targets[2].crowded) == [2, 3]


@pytest.mark.parametrize(("arch", "bound"), [(b"x86_64", True), (b"aarch64", False), (b"", True)])
def test_other_architectures_have_no_such_bound(arch: bytes, bound: bool) -> None:
    kernel = WritableKernel(MACHINE)
    if arch:
        kernel.put("/proc/sys/kernel/arch", arch + b"\n")
    assert (read_host(kernel).cpu_vectors < 200) is bound


def test_one_that_the_kernel_has_no_vector_for_costs_that_setting(tmp_path: Path) -> None:
    kernel = WritableKernel(MACHINE)
    kernel.fails = {2: errno.ENOSPC}
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    card.aim(plan(read_host(kernel)).targets[2], Baseline(tmp_path / "baseline.json", "boot"))
    outcome = reconcile_card(card, Baseline(tmp_path / "baseline.json", "boot"))
    assert outcome.error is None
    assert [change.key for change in outcome.made] == ["rxtx-0", "rxtx-2", "rxtx-3"]
    (setting,) = _settings(card, {}, "", Tallies())
    assert setting.state == "unsupported"
    assert setting.reason.startswith("1 of 4 cannot be set: no interrupt vector is left on CPU ")
