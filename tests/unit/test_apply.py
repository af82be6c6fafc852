"""One card's transaction: what is taken as it was read back, what is undone, what is said."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, StateFileError, VerifyError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.kernel.once import Once
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.profiles.specs import ChannelsSpec
from netuned.reconcile.apply import Rounds, reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.writing import Outcome
from netuned.tunables import BY_NAME
from netuned.values import ChannelCounts, FlowTable, Number, Qdisc, RssTable, Value
from tests.unit.writable import WritableKernel

MACHINE = "cores: 4\nthreads: 2\ncards: [{name: en0, driver: ice, queues: 2}]\n"
PROFILE = Profile.of(
    {"name": "edge", "match": [{"name": "en0"}], "irq": {"spread": "one-per-queue"}}
)


@pytest.fixture
def kernel() -> WritableKernel:
    return WritableKernel(MACHINE)


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "state" / "baseline.json", "boot")


def paths(kernel: WritableKernel) -> list[str]:
    return [f"/proc/irq/{vector.irq}/smp_affinity" for vector in card_of(kernel).vectors]


def masks(kernel: WritableKernel) -> list[str]:
    return [str(CpuSet.parse_mask(kernel.files.read_text(path))) for path in paths(kernel)]


def card_of(kernel: WritableKernel) -> Nic:
    return read_nic(kernel, 2, "en0")


def fail(kernel: WritableKernel, fails: dict[int, int]) -> None:
    """Have writes fail by their number from now on."""
    kernel.fails = {kernel.writes + number: error for number, error in fails.items()}


def tune(kernel: WritableKernel, baseline: Baseline, *cpus: str) -> tuple[Card, Outcome]:
    """Bring the planned card into force, with its queues on these CPUs."""
    target = plan_host([LoadedProfile(PROFILE, "", {})], read_host(kernel)).targets[2]
    target = replace(target, queue_cpus=tuple(map(CpuSet.parse_list, cpus)))
    card = Card(kernel, card_of(kernel))
    card.aim(target, baseline)
    return card, reconcile_card(card, baseline)


def test_an_offline_cpu_is_left_out_and_all_is_in_sync(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    kernel.shows = lambda text: (CpuSet.parse_mask(text) - CpuSet.parse_list("3")).to_mask()
    card, outcome = tune(kernel, baseline, "2-3", "1")
    assert outcome.error is None
    assert masks(kernel) == ["2", "1"]
    writes = kernel.writes
    assert reconcile_card(card, baseline).made == []
    assert kernel.writes == writes
    kernel.put(paths(kernel)[0], b"f\n")  # somebody else's value is not taken
    assert reconcile_card(card, baseline).error is None
    assert masks(kernel) == ["2", "1"]


def test_what_the_kernel_makes_something_else_of_is_an_error(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    kernel.shows = lambda text: (CpuSet.parse_mask(text) | CpuSet.parse_list("5")).to_mask()
    _, outcome = tune(kernel, baseline, "2", "1")
    assert isinstance(outcome.error, VerifyError)
    assert str(outcome.failed) == "en0 irq rxtx-0: 2,5 -> 2"
    assert str(outcome.error) == "irq rxtx-0: wrote 2, the kernel now shows 2,5"


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOMEM, errno.EINVAL, errno.ERANGE])
def test_a_failure_undoes_what_was_written_and_names_itself(
    kernel: WritableKernel, baseline: Baseline, number: int
) -> None:
    fail(kernel, {2: number})
    _, outcome = tune(kernel, baseline, "2", "1")
    assert masks(kernel) == ["0-7", "0-7"]
    assert outcome.made == []
    assert str(outcome.failed) == "en0 irq rxtx-1: 0-7 -> 1"
    assert f"write {paths(kernel)[1]}" in str(outcome.error)
    assert f"({errno.errorcode[number]})" in str(outcome.error)


def test_a_failed_undo_leaves_the_rest_undone_and_is_on_disk(
    kernel: WritableKernel, baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    fail(kernel, {2: errno.EBUSY, 3: errno.EBUSY})
    _, outcome = tune(kernel, baseline, "2", "1")
    assert isinstance(outcome.error, KernelError)
    assert masks(kernel) == ["2", "0-7"]
    assert "Cannot undo en0 irq rxtx-0: 0-7 -> 2" in caplog.text
    again = Baseline(baseline._path, "boot")
    again.load()
    assert str(again.of(card_of(kernel))["irq"]["rxtx-0"]) == "0-7"


CHANNELS = Profile.of(
    {
        "name": "edge",
        "match": [{"name": "en0"}],
        "channels": {"combined": 4},
        "rings": {"rx": 1024},
        "irq": {"spread": "one-per-queue"},
    }
)


def bring(kernel: WritableKernel, baseline: Baseline, profile: Profile) -> tuple[Card, Outcome]:
    card = Card(kernel, card_of(kernel))
    planned = plan_host([LoadedProfile(profile, "", {})], read_host(kernel))
    card.aim(planned.targets[2], baseline)
    return card, reconcile_card(card, baseline)


def test_what_a_dropped_pass_entered_is_put_on_record_by_no_other(tmp_path: Path) -> None:
    """A pass that ends with the daemon, between what it found and its first write."""
    kernel = WritableKernel(MACHINE.replace("]", ", {name: en1, driver: ice, queues: 2}]"))
    baseline = Baseline(tmp_path / "baseline.json", "boot")
    host = read_host(kernel)
    profile = Profile.of(
        {"name": "edge", "match": [{"driver": "ice"}], "irq": {"spread": "one-per-queue"}}
    )
    targets = plan_host([LoadedProfile(profile, "", {})], host).targets
    cards = [Card(kernel, nic) for nic in host.nics.values()]
    passes = []
    for card in cards:
        card.aim(targets[card.nic.ifindex], baseline)
        passes.append(Rounds(card, baseline))
        assert not passes[-1].turn(Once(kernel)), "it waits for its turn to save"
    dropped = passes.pop(0)
    del dropped
    assert not passes[0].turn(Once(kernel))
    again = Baseline(tmp_path / "baseline.json", "boot")
    again.load()
    assert [bool(again.of(card.nic)) for card in cards] == [False, True]
    assert reconcile_card(cards[0], baseline).error is None
    assert baseline.of(cards[0].nic)


def test_what_is_refused_without_a_name_is_no_lack_of_the_card(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """The key of channels is empty, and so is what the kernel named."""
    fail(kernel, {1: errno.EBUSY})
    card, outcome = bring(kernel, baseline, CHANNELS)
    assert isinstance(outcome.error, KernelError)
    assert str(outcome.failed) == "en0 channels: 2 combined -> 4 combined"
    assert card.unsupported == {}


def test_what_channels_put_off_is_not_taken_for_tried(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card, outcome = bring(kernel, baseline, CHANNELS)
    assert (outcome.error, card.verdicts.refused) == (None, {})
    assert str(card.found["channels"][""]) == "4 combined"
    assert str(card.found["rings"]["rx"]) == "1024 entries"
    assert masks(kernel) == ["0", "1", "2", "3"]


def test_what_ended_queues_took_along_is_undone_with_them(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    mask = f"{CLASS_NET}/en0/queues/rx-1/rps_cpus"
    kernel.put(mask, b"f\n")
    kernel.put(paths(kernel)[1], b"4\n")
    fewer = replace(CHANNELS, channels=ChannelsSpec(combined=1), irq=None)
    fail(kernel, {2: errno.EBUSY})
    card, outcome = bring(kernel, baseline, fewer)
    assert (str(outcome.failed), outcome.undone) == (
        "en0 rings rx: 512 entries -> 1024 entries",
        True,
    )
    assert str(card_of(kernel).counts) == "2 combined"
    assert CpuSet.parse_mask(kernel.files.read_text(mask)) == CpuSet(15)
    assert masks(kernel)[1] == "2"
    recorded = {name: set(state) for name, state in baseline.of(card.nic).items()}
    assert (recorded["rps"], recorded["irq"]) == ({"rx-1"}, {"rxtx-1"})


@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM, errno.EACCES])
def test_a_managed_interrupt_is_a_state_and_the_rest_in_force(
    kernel: WritableKernel, baseline: Baseline, number: int
) -> None:
    fail(kernel, {1: number})
    card, outcome = tune(kernel, baseline, "2", "1")
    assert outcome.error is None
    assert masks(kernel) == ["0-7", "1"]
    assert card.nic.managed == {card.nic.vectors[0].irq}


def test_the_record_of_what_cannot_be_put_back_is_kept(
    kernel: WritableKernel, baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    card, _ = tune(kernel, baseline, "2", "1")
    card.aim(None, baseline)
    fail(kernel, {1: errno.EOPNOTSUPP})
    assert reconcile_card(card, baseline).error is None
    assert masks(kernel) == ["2", "0-7"]
    assert "Cannot put back en0 irq: refused, keeping its record" in caplog.text
    card.verdicts.forget_refusals()  # as `netunedctl apply` has it
    card.aim(None, baseline)
    assert reconcile_card(card, baseline).error is None
    assert masks(kernel) == ["0-7", "0-7"]
    assert baseline.of(card.nic) == {}


def test_what_fails_to_go_back_keeps_nothing_else_from_it(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card, _ = tune(kernel, baseline, "2", "1")
    card.aim(None, baseline)
    for _ in range(2):
        fail(kernel, {1: errno.EBUSY})
        outcome = reconcile_card(card, baseline)
        assert isinstance(outcome.error, KernelError)
        assert str(outcome.failed) == "en0 irq rxtx-0: 2 -> 0-7"
        assert masks(kernel) == ["2", "0-7"]
        assert baseline.of(card.nic)["irq"].keys() == {"rxtx-0"}
    kernel.fails = {}
    assert reconcile_card(card, baseline).error is None
    assert masks(kernel) == ["0-7", "0-7"]
    assert baseline.of(card.nic) == {}


def test_what_was_put_back_stays_so_when_its_record_cannot_be_dropped(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, _ = tune(kernel, baseline, "2", "1")
    card.aim(None, baseline)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("netuned.statefile.write_of_boot", full)
        outcome = reconcile_card(card, baseline)
    assert isinstance(outcome.error, StateFileError)
    assert masks(kernel) == ["0-7", "0-7"]
    outcome = reconcile_card(card, baseline)
    assert (outcome.error, outcome.made) == (None, [])
    assert baseline.of(card.nic) == {}


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
