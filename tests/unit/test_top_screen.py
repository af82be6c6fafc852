"""The screen of ``netunedctl top`` through textual's pilot: keys, mouse, sizes; no terminal."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import pytest
from textual.geometry import Region
from textual.pilot import Pilot

from netuned.cli import top as command
from netuned.errors import KernelError, NetunedError
from netuned.top.rows import QUEUE, Frame, Known, frame
from netuned.top.screen import Help, Sorts, Top
from netuned.top.table import HEAD
from tests.unit.machines import nic
from tests.unit.test_top import HAPPENED, HOST, LAN, READERS

Drive = Callable[[Top, Pilot[NetunedError]], Awaitable[None]]


def many(step: int = 1) -> Frame:
    """Two cards of 40 queues, the higher the busier."""
    nics = {2: nic(2, "lan0", queues=40), 3: nic(3, "wan\x1b0", queues=40)}
    rx = {queue: {"packets": 2 * step * queue, "bytes": 9} for queue in range(40)}
    cards = {ifindex: replace(LAN, name=nics[ifindex].name, rx=rx) for ifindex in nics}
    return frame(replace(HAPPENED, cards=cards), Known(HOST, nics), READERS)


def driven(drive: Drive, size: tuple[int, int] = (80, 24), by: str = QUEUE) -> Top:
    """An app that nothing refreshes but a test, after what the test did with it."""
    app = Top(None, by=by)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            app.rows.take(many())
            await drive(app, pilot)

    asyncio.run(run())
    return app


def lines(app: Top) -> list[str]:
    width, height = app.rows.size
    return [strip.text for strip in app.rows.render_lines(Region(0, 0, width, height))]


def names(app: Top) -> list[str]:
    """The first two words of the rows that are to be seen."""
    return [" ".join(line.split()[:2]) for line in lines(app)[HEAD:-1]]


def colours(app: Top) -> list[str]:
    width, height = app.rows.size
    strips = app.rows.render_lines(Region(0, HEAD, width, height - HEAD - 1))
    return [str(segment.style) for strip in strips for segment in strip]


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (30, 6), (10, 3)])
def test_it_fills_any_screen(size: tuple[int, int]) -> None:
    async def drive(app: Top, pilot: Pilot[NetunedError]) -> None:
        for _ in range(3):
            shown = lines(app)
            assert len(shown) == size[1]
            assert {len(line) for line in shown} == {size[0]}
            assert all(line.isprintable() for line in shown)
            await pilot.press("tab")
        if size == (80, 24):
            assert names(app)[:3] == ["lan0 39", r"wan\x1b0 39", "lan0 38"]
            assert len(names(app)) == 19
        if size == (200, 60):
            assert "LAST MINUTE" in shown[HEAD - 1]

    driven(drive, size)


def test_keys_are_htops() -> None:
    async def drive(app: Top, pilot: Pilot[NetunedError]) -> None:
        await pilot.press("down", "down", "pagedown")
        assert lines(app)[1].startswith("wan\\x1b0 29: RX PKT 29, most 29; no CPU,")
        assert names(app)[-1] == "wan\\x1b0 29"
        await pilot.press("end")
        assert names(app)[-1] == "wan\\x1b0 0"
        await pilot.press("home", "I")
        assert names(app)[-1] == "lan0 39", "what is chosen stays so"
        await pilot.press("home")
        assert names(app)[:2] == ["lan0 0", "wan\\x1b0 0"]
        await pilot.press("N")
        assert names(app)[:2] == ["lan0 0", "lan0 1"]
        await pilot.press("P")
        assert "by +softirq" in lines(app)[0]
        await pilot.press("tab")
        assert names(app)[0].startswith("3 ")
        await pilot.press("shift+tab", "shift+tab")
        assert names(app)[0].startswith("lan0 ")
        await pilot.press("q")

    driven(drive)


def test_filter_search_sort_and_help() -> None:
    async def drive(app: Top, pilot: Pilot[NetunedError]) -> None:
        await pilot.press("f4", *"q/", *["backspace"] * 2, *"w", "enter")
        assert {name.split()[0] for name in names(app)} == {"wan\\x1b0"}
        assert "filter w" in lines(app)[0]
        assert app.focused is app.rows
        await pilot.press("escape")
        assert "filter" not in lines(app)[0]
        await pilot.press("f3", *"0 7", "enter")
        assert lines(app)[1].startswith("lan0 7: ")
        await pilot.press("f6")
        assert isinstance(app.screen, Sorts)
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert "by +rx_bytes" in lines(app)[0]
        await pilot.press("f1")
        assert isinstance(app.screen, Help)
        await pilot.press("x")
        assert app.screen is app.rows.screen

    driven(drive)


def test_freeze_keeps_what_is_shown_and_the_minute_goes_on() -> None:
    async def drive(app: Top, pilot: Pilot[NetunedError]) -> None:
        await pilot.press("Z")
        assert "FROZEN" in lines(app)[0]
        before = names(app), lines(app)[HEAD]
        app.rows.take(many(3))
        assert (names(app), lines(app)[HEAD]) == before
        assert "most 117;" in lines(app)[1]
        await pilot.press("Z")
        app.rows.take(many(2))
        assert lines(app)[1].startswith("lan0 39: RX PKT 78, most 117;")
        assert lines(app)[2].rstrip().endswith(" ▃█▆|")

    driven(drive)


def test_the_mouse() -> None:
    async def drive(app: Top, pilot: Pilot[NetunedError]) -> None:
        at = lines(app)[HEAD - 1].index("RX B")
        await pilot.click(offset=(at, HEAD - 1))
        assert "by +rx_bytes" in lines(app)[0]
        await pilot.click(offset=(at, HEAD - 1))
        assert "by -rx_bytes" in lines(app)[0]
        third = names(app)[2]
        await pilot.click(offset=(4, HEAD + 2))
        assert lines(app)[1].startswith(f"{third}: ")

    driven(drive)


def test_a_row_has_the_colour_of_its_cpus_place() -> None:
    async def drive(app: Top, pilot: Pilot[NetunedError]) -> None:
        await pilot.press("tab", "N", "end")
        assert colours(app)[:4] == ["cyan", "cyan", "bold green", "reverse green"]

    driven(drive)


def test_an_error_ends_it() -> None:
    """Only what no refresh can do without is one: a card that leaves is none."""

    def refresh() -> Frame:
        raise KernelError("read", "/proc", 5)

    async def run() -> None:
        app = Top(refresh)
        async with app.run_test() as pilot:
            while app.return_value is None:
                await pilot.pause(0.01)
        assert isinstance(app.return_value, KernelError)

    asyncio.run(run())


def test_a_size_is_taken_though_textual_missed_its_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a busy machine, where 8 ms have gone before the timer looks when it is to ring."""

    async def run() -> None:
        app = Top(many, interval_s=0.02)
        async with app.run_test(size=(80, 24)) as pilot:
            late = itertools.count(time.monotonic(), 0.02)
            monkeypatch.setattr("textual._time.get_time", lambda: next(late))
            await pilot.resize_terminal(200, 50)
            await pilot.resize_terminal(120, 40)
            for _ in range(500):
                if app.rows.size == (120, 40):
                    return
                await pilot.pause(0.01)
            pytest.fail(f"it is laid out for {app.rows.size}")

    asyncio.run(run())


def test_without_textual_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(names: Iterable[str]) -> None:
        for name in names:
            monkeypatch.delitem(sys.modules, name, raising=False)

    without([name for name in sys.modules if name.startswith("netuned.top.screen")])
    monkeypatch.setitem(sys.modules, "textual", None)
    without([name for name in sys.modules if name.startswith("textual.")])
    with pytest.raises(NetunedError, match="apt install python3-textual"):
        command._on_screen(argparse.Namespace(), None)  # type: ignore[arg-type]
