"""One card's transaction: what is taken as it was read back, what is undone, what is said."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, StateFileError, VerifyError
from netuned.kernel import Kernel
from netuned.kernel.files import Files
from netuned.reconcile.apply import Outcome, reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.tunables import BY_NAME
from netuned.tunables.base import Target
from netuned.values import ChannelCounts, FlowTable, Number, Qdisc, RssTable, Value
from tests.unit.machines import nic, topology

CARD = nic(2, "en0", queues=2)
PATHS = [f"/proc/irq/{number}/smp_affinity" for number in CARD.interrupts]


class MaskFiles(Files):
    """Affinity files in a directory; ``shows`` is what the kernel makes of a mask that is written.

    ``fails`` are the errno of writes by their number, from 1 on.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.root = root
        self.shows: Callable[[CpuSet], CpuSet] = lambda mask: mask
        self.fails: dict[int, int] = {}
        self.writes = 0
        for path in PATHS:
            (root / path[1:]).parent.mkdir(parents=True)
            (root / path[1:]).write_text("ff\n")

    def write(self, path: str, data: bytes) -> None:
        self.writes += 1
        if number := self.fails.get(self.writes):
            raise KernelError("write", path, number)
        shown = self.shows(CpuSet.parse_mask(data.decode()))
        (self.root / path[1:]).write_text(shown.to_mask() + "\n")

    def masks(self) -> list[str]:
        return [str(CpuSet.parse_mask((self.root / path[1:]).read_text())) for path in PATHS]


@pytest.fixture
def files(tmp_path: Path) -> MaskFiles:
    return MaskFiles(tmp_path / "root")


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "state" / "baseline.json", "boot")


def target(*cpus: str) -> Target:
    names = ("channels", "rss", "rps", "rfs", "xps", "qdisc")
    policy = SimpleNamespace(disruptive="allow", enforce="yes")
    irq = SimpleNamespace(spread="one-per-queue")
    fields: dict[str, Any] = dict.fromkeys(Target.__dataclass_fields__)
    fields |= {
        "profile": SimpleNamespace(irq=irq, policy=policy, **dict.fromkeys(names)),
        "topology": topology(),
        "queue_cpus": tuple(map(CpuSet.parse_list, cpus)),
        "pool": CpuSet(),
    }
    return Target(**fields)


def tune(files: MaskFiles, baseline: Baseline, *cpus: str) -> tuple[Card, Outcome]:
    kernel = SimpleNamespace(files=files, rtnl=SimpleNamespace(qdiscs=dict))
    card = Card(cast("Kernel", kernel), CARD)
    card.aim(target(*cpus), baseline)
    return card, reconcile_card(card, baseline)


def test_an_offline_cpu_is_left_out_and_all_is_in_sync(
    files: MaskFiles, baseline: Baseline
) -> None:
    files.shows = lambda mask: mask - CpuSet.parse_list("3")
    card, outcome = tune(files, baseline, "2-3", "1")
    assert outcome.error is None
    assert files.masks() == ["2", "1"]
    writes = files.writes
    assert reconcile_card(card, baseline).made == []
    assert files.writes == writes
    (files.root / PATHS[0][1:]).write_text("f\n")  # somebody else's value is not taken
    assert reconcile_card(card, baseline).error is None
    assert files.masks() == ["2", "1"]


def test_what_the_kernel_makes_something_else_of_is_an_error(
    files: MaskFiles, baseline: Baseline
) -> None:
    files.shows = lambda mask: mask | CpuSet.parse_list("5")
    _, outcome = tune(files, baseline, "2", "1")
    assert isinstance(outcome.error, VerifyError)
    assert str(outcome.failed) == "en0 irq rxtx-0: 2,5 -> 2"
    assert str(outcome.error) == "irq rxtx-0: wrote 2, the kernel now shows 2,5"


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOMEM, errno.EINVAL, errno.ENOSPC])
def test_a_failure_undoes_what_was_written_and_names_itself(
    files: MaskFiles, baseline: Baseline, number: int
) -> None:
    files.fails = {2: number}
    _, outcome = tune(files, baseline, "2", "1")
    assert files.masks() == ["0-7", "0-7"]
    assert outcome.made == []
    assert str(outcome.failed) == "en0 irq rxtx-1: 0-7 -> 1"
    assert f"write {PATHS[1]}" in str(outcome.error)
    assert f"({errno.errorcode[number]})" in str(outcome.error)


def test_a_failed_undo_leaves_the_rest_undone_and_is_on_disk(
    files: MaskFiles, baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    files.fails = {2: errno.EBUSY, 3: errno.EBUSY}
    _, outcome = tune(files, baseline, "2", "1")
    assert isinstance(outcome.error, KernelError)
    assert files.masks() == ["2", "0-7"]
    assert "Cannot undo en0 irq rxtx-0: 0-7 -> 2" in caplog.text
    again = Baseline(baseline._path, "boot")
    again.load()
    assert str(again.of(CARD)["irq"]["rxtx-0"]) == "0-7"


@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM, errno.EACCES])
def test_a_managed_interrupt_is_a_state_and_the_rest_in_force(
    files: MaskFiles, baseline: Baseline, number: int
) -> None:
    files.fails = {1: number}
    card, outcome = tune(files, baseline, "2", "1")
    assert outcome.error is None
    assert files.masks() == ["0-7", "1"]
    assert card.nic.managed == {CARD.interrupts[0]}


def test_the_record_of_what_cannot_be_put_back_is_kept(
    files: MaskFiles, baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    card, _ = tune(files, baseline, "2", "1")
    card.aim(None, baseline)
    files.fails = {files.writes + 1: errno.EOPNOTSUPP}
    assert reconcile_card(card, baseline).error is None
    assert files.masks() == ["2", "0-7"]
    assert "Cannot put back en0 irq: refused, keeping its record" in caplog.text
    card.refused = {}  # as `netunedctl apply` has it
    card.aim(None, baseline)
    assert reconcile_card(card, baseline).error is None
    assert files.masks() == ["0-7", "0-7"]
    assert baseline.of(CARD) == {}


def test_what_was_put_back_stays_so_when_its_record_cannot_be_dropped(
    files: MaskFiles, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, _ = tune(files, baseline, "2", "1")
    card.aim(None, baseline)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("netuned.statefile.write_atomically", full)
        outcome = reconcile_card(card, baseline)
    assert isinstance(outcome.error, StateFileError)
    assert files.masks() == ["0-7", "0-7"]
    outcome = reconcile_card(card, baseline)
    assert (outcome.error, outcome.made) == (None, [])
    assert baseline.of(CARD) == {}


def cpus(text: str) -> CpuSet:
    return CpuSet.parse_list(text)


@pytest.mark.parametrize(
    ("tunable", "wanted", "found", "taken"),
    [
        ("irq", cpus("0-3"), cpus("1"), True),
        ("irq", cpus("0-3"), cpus("1,4"), False),
        ("rps", cpus("0-3"), cpus("0-2"), True),
        ("xps", cpus("0-3"), cpus("4"), False),
        ("rfs", FlowTable(5000), FlowTable(8192), True),
        ("rfs", FlowTable(8192), FlowTable(4096), False),
        ("channels", ChannelCounts(0, 0, 12), ChannelCounts(0, 0, 8), True),
        ("channels", ChannelCounts(0, 0, 12), ChannelCounts(0, 0, 6), False),
        ("channels", ChannelCounts(0, 0, 12), ChannelCounts(0, 0, 16), False),
        ("channels", ChannelCounts(4, 4, 0), ChannelCounts(4, 4, 0), True),
        ("rss", RssTable((0, 1, 0, 1)), RssTable((0, 1)), True),
        ("rss", RssTable((0, 1, 0, 1)), RssTable((0, 0, 0, 1, 0, 0, 0, 0)), False),
        ("rss", RssTable((0, 1)), RssTable((0, 2)), False),
        ("qdisc", Number(1000), Number(992), True),
        ("qdisc", Number(1000), Number(900), False),
        ("qdisc", Number(1), Number(0), False),
        ("qdisc", Qdisc("fq"), Qdisc("pfifo"), False),
    ],
)
def test_what_a_value_can_become(tunable: str, wanted: Value, found: Value, taken: bool) -> None:
    assert BY_NAME[tunable].within("", wanted, found) is taken
