"""Kernel-managed interrupts: told by the file's mode, or learnt from a refused write."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import _is_managed, with_managed
from netuned.kernel import Kernel
from netuned.kernel.files import Files
from netuned.plan import Change
from netuned.reconcile.card import Card
from netuned.reconcile.report import _settings
from netuned.tunables import irq, masks
from netuned.tunables.base import Target, View
from tests.unit.machines import nic, topology

CARD = nic(2, "en0", queues=2)
FIRST, SECOND = CARD.interrupts


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Whose two interrupts may go anywhere; the first runs on CPU 2, the second on CPU 3."""
    for number, where in ((FIRST, "4"), (SECOND, "8")):
        directory = tmp_path / f"proc/irq/{number}"
        directory.mkdir(parents=True)
        (directory / "smp_affinity").write_text("f\n")
        (directory / "effective_affinity").write_text(f"{where}\n")
    return cast("Kernel", SimpleNamespace(files=Files(str(tmp_path))))


def target() -> Target:
    spec = SimpleNamespace(irq=SimpleNamespace(spread="one-per-queue"))
    fields: dict[str, Any] = dict.fromkeys(Target.__dataclass_fields__)
    queue_cpus = (CpuSet.parse_list("0"), CpuSet.parse_list("1"))
    fields |= {"profile": spec, "topology": topology(), "queue_cpus": queue_cpus}
    return Target(**fields)


def test_a_read_only_file_is_the_kernels(kernel: Kernel, tmp_path: Path) -> None:
    assert not _is_managed(kernel, FIRST)
    (tmp_path / f"proc/irq/{FIRST}/smp_affinity").chmod(0o444)
    assert _is_managed(kernel, FIRST)
    assert not _is_managed(kernel, 999)


def test_what_is_managed_is_where_it_runs(kernel: Kernel) -> None:
    card = with_managed(kernel, CARD, {SECOND})
    assert card.managed == {SECOND}
    assert card.affinity == (CpuSet.parse_list("0-3"), CpuSet.parse_list("3"))
    assert with_managed(kernel, card, {SECOND}) is card


def test_a_refused_write_is_learnt_once(kernel: Kernel) -> None:
    card = Card(kernel, CARD)
    card.wanted = {"irq": irq.desired(target(), CARD, {})}
    assert card.wanted["irq"].keys() == {"rxtx-0", "rxtx-1"}
    card.found = {"irq": dict(card.wanted["irq"])}
    before = card.nic
    change = Change("en0", "irq", "rxtx-1", None, CpuSet.parse_list("1"), "")
    card.give_up(change, irq.KERNEL_MANAGED)
    assert card.nic is not before  # which is what has the loop plan anew
    assert card.nic.managed == {SECOND}
    assert not card.refused
    assert irq.desired(target(), card.nic, {}).keys() == {"rxtx-0"}
    (setting,) = _settings(card, (), {}, "")
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
    kernel: Kernel, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("write", "smp_affinity", number)

    monkeypatch.setattr(masks, "write", refuse)
    view = cast("View", SimpleNamespace(nic=CARD, kernel=kernel))
    with pytest.raises(UnsupportedError, match="kernel-managed"):
        irq.write(view, {}, {"rxtx-0": CpuSet.parse_list("0")})
