"""What a card cannot have is no part of ``in-sync``; what it cannot have for now is tried again."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from netuned.errors import UnsupportedError
from netuned.kernel.questions import NAPIS, A, Question
from netuned.profiles.loader import ProfileSet, load
from netuned.reconcile import slot
from netuned.snapshots import offline
from netuned.status import IN_SYNC, PARTIAL, UNSUPPORTED
from tests.unit.parts import Parts, on
from tests.unit.writable import WritableKernel

MACHINE = "cores: 4\nisolated: 2-3\ncards: [{name: en0, driver: ice, queues: 8}]\n"
REST = "match: [{name: en0}]\nirq: {cpus: 0-1}\n"


def loaded(text: str, directory: Path) -> ProfileSet:
    (directory / "given").mkdir()
    (directory / "given" / "edge.yaml").write_text(text)
    return load([str(directory / "given")])


@pytest.mark.parametrize(
    ("says", "tunable", "why"),
    [
        ("rps: {cpus: isolated}\n", "rps", "all CPUs of 'isolated' are isolated"),
        ("rss: {queues: 0-9}\n", "rss", "names queue 8, the card reaches queues 0-7"),
        ("channels: {combined: 9999}\n", "channels", "9999 is more than the card's maximum of"),
        ("rings: {rx: 99999}\n", "rings", "1 of 1 cannot be set: rx: 99999 is more than"),
    ],
)
def test_what_a_card_cannot_have_makes_it_partial(
    says: str, tunable: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(REST + says)
        shown = parts.shown()
        settings = {setting.tunable: setting for setting in shown.settings}
        assert (shown.state, settings[tunable].state) == (PARTIAL, UNSUPPORTED)
        assert why in settings[tunable].reason
        assert settings["irq"].state == IN_SYNC
        for _ in range(3):
            parts.passes.look(parts.slot())
            await parts.quiet()
        assert caplog.text.count(f"Cannot be had: en0 {tunable}: ") == 1, "it is said once"
        await parts.plan(REST)
        assert parts.shown().state == IN_SYNC

    on(tmp_path, scenario, WritableKernel(MACHINE))


def test_what_is_refused_is_told_when_all_else_of_a_setting_was_put_back(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(f"{REST}coalesce: {{rx-usecs: 51}}\n")
        assert parts.shown().state == IN_SYNC
        await parts.plan(f"{REST}coalesce: {{stats-block-usecs: 5}}\n")
        settings = {setting.tunable: setting for setting in parts.shown().settings}
        assert (parts.shown().state, settings["coalesce"].state) == (PARTIAL, UNSUPPORTED)
        assert "stats-block-usecs: the driver ice does not have it" in settings["coalesce"].reason

    on(tmp_path, scenario, WritableKernel(MACHINE))


def test_a_kernel_without_single_napi_instances_has_what_is_of_the_card(tmp_path: Path) -> None:
    """As before Linux 6.8; the rest is named."""
    kernel = WritableKernel(MACHINE)
    kernel.answers.cards(NAPIS).clear()
    kernel.answers.put_all(NAPIS, UnsupportedError("NAPI instances", "no such family"))
    says = "defer-hard-irqs: 2, irq-suspend-timeout: 1s, threads: 0, queues: {0: {threaded: on}}"

    async def scenario(parts: Parts) -> None:
        await parts.plan(f"{REST}napi: {{{says}}}\n")
        settings = {setting.tunable: setting for setting in parts.shown().settings}
        assert (parts.shown().state, settings["napi"].state) == (PARTIAL, UNSUPPORTED)
        first, other = settings["napi"].reason.split("; threads: ")
        assert first.startswith("3 of 4 cannot be set: irq-suspend-timeout, queues: this kernel ")
        assert other.startswith("this kernel does not tell which threads they are")
        assert kernel.files.read_int("/sys/class/net/en0/napi_defer_hard_irqs", 0) == 2

    on(tmp_path, scenario, kernel)


def test_while_a_card_is_looked_at_anew_it_is_shown_as_it_was(tmp_path: Path) -> None:
    """What it cannot have shows only once all of it was compared again."""
    kernel = WritableKernel(MACHINE)
    cards = kernel.answers.cards(NAPIS)
    cards |= {ifindex: {} for ifindex in cards}  # of igb it is not told which is whose

    async def scenario(parts: Parts) -> None:
        await parts.plan(f"{REST}napi: {{threaded: on, threads: irq}}\n")
        before, shown = parts.shown(), []
        assert before.state == PARTIAL
        dump = kernel.dump

        def look(question: Question[A]) -> Mapping[int, A]:
            shown.append(parts.shown())
            return dump(question)

        kernel.dump = look  # type: ignore[method-assign]
        slot = parts.slot()
        slot.aim_anew()  # as after each change of what its facts are
        parts.passes.look(slot)
        await parts.quiet()
        assert len(shown) > 1
        settings = [{s.tunable: s.reason for s in at.settings} for at in (before, *shown)]
        assert {at.state for at in shown} == {PARTIAL}
        assert all(at == settings[0] for at in settings)
        assert parts.shown().state == PARTIAL

    on(tmp_path, scenario, kernel)


def test_channels_that_are_refused_for_now_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As while an AF_XDP socket is bound: the rest is for the queues that there are until then."""
    monkeypatch.setattr(slot, "REFUSED_S", 0.1)
    caplog.set_level("INFO")
    kernel = WritableKernel(MACHINE)

    async def scenario(parts: Parts) -> None:
        kernel.fails = {kernel.writes + 1: errno.EINVAL}
        await parts.plan(f"{REST}channels: {{combined: 2}}\n")
        await parts.until(lambda: parts.shown().state == IN_SYNC)
        assert len(parts.slot().card.wanted["irq"]) == 2
        said = [record.getMessage() for record in caplog.records]
        (why,) = (line for line in said if line.startswith("Cannot be had: en0 channels: "))
        assert "8 combined -> 2 combined: " in why
        assert "Invalid argument (EINVAL)" in why
        seated = {line.split(":")[0] for line in said if line.startswith("Set en0 irq ")}
        assert len(seated) == 8, "none was left out for want of a place"

    on(tmp_path, scenario, kernel)


def test_other_channels_than_those_that_were_refused_are_tried(tmp_path: Path) -> None:
    """A socket on queue 2 has nothing against three queues."""
    kernel = WritableKernel(MACHINE)

    async def scenario(parts: Parts) -> None:
        kernel.fails = {kernel.writes + 1: errno.EINVAL}
        await parts.plan(f"{REST}channels: {{combined: 2}}\n")
        assert parts.shown().state == PARTIAL
        await parts.plan(f"{REST}channels: {{combined: 3}}\n")
        assert parts.shown().state == IN_SYNC
        assert len(parts.slot().card.wanted["irq"]) == 3

    on(tmp_path, scenario, kernel)


def test_channels_that_nobody_can_set_are_known_before(tmp_path: Path) -> None:
    """The plan before anything is tried is the one that is made: all queues have a place."""
    kernel = WritableKernel(MACHINE.replace("ice", "vmxnet3"))
    profile = loaded(f"{REST}channels: {{combined: 2}}\nxps: {{cpus: auto}}\n", tmp_path)
    planned = offline.plan(kernel, profile)
    assert {change.tunable for change in planned.changes} == {"irq", "xps"}
    assert [lack[:2] for lack in planned.unsupported] == [("en0", "channels")]

    async def scenario(parts: Parts) -> None:
        await parts.plan(f"{REST}channels: {{combined: 2}}\nxps: {{cpus: auto}}\n")
        assert parts.shown().state == PARTIAL
        made = {change.key for change in planned.changes if change.tunable == "irq"}
        assert parts.slot().card.wanted["irq"].keys() == made
        await parts.plan(f"{REST}channels: {{combined: 8}}\n")
        assert parts.shown().state == IN_SYNC, "it has them"

    on(tmp_path, scenario, kernel)
