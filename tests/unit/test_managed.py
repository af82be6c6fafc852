"""Kernel-managed interrupts: told by the file's mode, or learnt from a refused write."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.facts import _is_managed, read_nic, with_managed
from netuned.hardware.host import read_host
from netuned.kernel.files import KeptFiles
from netuned.kernel.once import Once
from netuned.plan import Change
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile.card import Card
from netuned.reconcile.report import _settings
from netuned.reconcile.tally import Tallies
from netuned.tunables import irq, masks
from netuned.tunables.base import Target, View
from tests.unit.writable import WritableKernel

MACHINE = "cores: 4\ncards: [{name: en0, driver: ice, queues: 2}]\n"
PROFILE = Profile.of(
    {"name": "edge", "match": [{"name": "en0"}], "irq": {"spread": "one-per-queue"}}
)
CARD = read_nic(WritableKernel(MACHINE), 2, "en0")
FIRST, SECOND = (vector.irq for vector in CARD.vectors)


@pytest.fixture
def kernel() -> WritableKernel:
    """Whose two interrupts may go anywhere; the first runs on CPU 2, the second on CPU 3."""
    made = WritableKernel(MACHINE)
    for number, where in ((FIRST, b"4\n"), (SECOND, b"8\n")):
        made.put(f"/proc/irq/{number}/effective_affinity", where)
    return made


def target() -> Target:
    host = read_host(WritableKernel(MACHINE))
    return plan_host([LoadedProfile(PROFILE, "", {})], host).targets[2]


def test_a_read_only_file_is_the_kernels(kernel: WritableKernel) -> None:
    assert not _is_managed(kernel, FIRST)
    kernel.put(f"/proc/irq/{FIRST}/smp_affinity", b"f\n", 0o444)
    assert _is_managed(kernel, FIRST)
    assert not _is_managed(kernel, 999)


def test_what_is_managed_is_where_it_runs(kernel: WritableKernel) -> None:
    card = with_managed(kernel, CARD, {SECOND})
    assert card.managed == {SECOND}
    assert card.affinity == (CpuSet.parse_list("0-3"), CpuSet.parse_list("3"))
    assert with_managed(kernel, card, {SECOND}) is card


def test_a_refused_write_is_learnt_once(kernel: WritableKernel) -> None:
    card = Card(kernel, CARD)
    wanted = irq.desired(target(), CARD, {})
    card.wanted = {"irq": {key: cpus for key, cpus in wanted.items() if isinstance(cpus, CpuSet)}}
    assert card.wanted["irq"].keys() == {"rxtx-0", "rxtx-1"}
    card.found = {"irq": dict(card.wanted["irq"])}
    before = card.nic
    change = Change("en0", "irq", "rxtx-1", None, CpuSet.parse_list("1"), "")
    card.give_up(change, irq.KERNEL_MANAGED)
    assert card.nic is not before  # which is what has the loop plan anew
    assert card.nic.managed == {SECOND}
    assert not card.verdicts.refused
    assert irq.desired(target(), card.nic, {}).keys() == {"rxtx-0"}
    (setting,) = _settings(card, {}, "", Tallies())
    assert (setting.state, setting.reason) == (
        "unsupported",
        "1 of 2 cannot be set: kernel-managed",
    )


def test_a_card_of_managed_interrupts_has_no_affinity_to_set() -> None:
    card = replace(CARD, managed=frozenset(CARD.interrupts))
    with pytest.raises(UnsupportedError, match="kernel-managed"):
        irq.desired(target(), card, {})


@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM, errno.EACCES])
def test_each_way_to_refuse_means_the_same(
    kernel: WritableKernel, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("write", "smp_affinity", number)

    monkeypatch.setattr(masks, "write", refuse)
    view = View(kernel, CARD, KeptFiles(kernel.files), Once(kernel))
    with pytest.raises(UnsupportedError, match="kernel-managed"):
        irq.write(view, {}, {"rxtx-0": CpuSet.parse_list("0")})
