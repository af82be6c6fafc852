"""The screen of ``netunedctl top``: keys as in htop. It needs textual, as the table on it does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from netuned.errors import NetunedError
from netuned.top.lines import PAST
from netuned.top.rows import CARD, NAME, VIEWS, Frame, View
from netuned.top.table import HEAD, Rows

HELP = """\
Up Down PgUp PgDn Home End   choose a row; its last minute is shown above
Tab, Shift-Tab               cards, queues, CPUs
F3 or /                      search: the first row with a text
F4 or \\                      filter: only rows with a text; Esc takes it away
F6, < or >                   sort by a column; a click on its title does, too
I                            invert the order
P, N                         sort by softirqs' time, by name
Z                            freeze, and go on
F10 or q                     quit

All numbers are per second, of CPU's time in percent; QLEN and BACKLG are
what waits now. A row has the colour of the node, or of the L3 where there
is one node, of the CPU that takes most of its interrupts: other L3s of a
node are brighter. Bold: something is dropped. Processes are those with a
network socket open of which a thread ran on that CPU last."""


class Top(App[NetunedError]):
    """``refresh`` is called in a thread of its own, so that a kernel that waits keeps no key."""

    CSS = """
    Input { dock: bottom; height: 1; border: none; padding: 0; display: none; }
    Input:focus { border: none; }
    Sorts, Help { align: center middle; background: transparent; }
    Sorts Vertical, Help Vertical { width: auto; height: auto; max-width: 100%; max-height: 100%; }
    Sorts OptionList { width: 24; height: auto; max-height: 20; }
    Help Static { width: auto; border: solid; padding: 0 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [  # noqa: RUF012  # as textual's own class has it
        Binding("f1,h,question_mark", "help"),
        Binding("f3,slash", "type('search')", priority=True),
        Binding("f4,backslash", "type('filter')", priority=True),
        Binding("f6,less_than_sign,greater_than_sign", "sorts"),
        Binding("f10,q,ctrl+c", "quit"),
        Binding("ctrl+z", "suspend_process"),
        Binding("tab", "turn(1)", priority=True),
        Binding("shift+tab", "turn(-1)", priority=True),
        Binding("up", "move(-1)"),
        Binding("down", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home", f"move({-(1 << 30)})"),
        Binding("end", f"move({1 << 30})"),
        Binding("I", "invert"),
        Binding("P", "sort('softirq')"),
        Binding("N", f"sort('{NAME}')"),
        Binding("Z", "freeze"),
        Binding("escape", "unfilter"),
    ]

    def __init__(
        self,
        refresh: Callable[[], Frame] | None,
        interval_s: float = 1.0,
        by: str = CARD,
        sort: str = "",
        needle: str = "",
    ) -> None:
        super().__init__(ansi_color=True)
        self._refreshing = refresh
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._taken = threading.Event()
        self._typing = ""
        self.rows = Rows(VIEWS[by], sort, needle, min(max(round(PAST / interval_s), 2), PAST))

    def follow(self) -> None:
        """Run until somebody quits. Raises: NetunedError that a refresh ended with."""
        error = self.run()
        if error:
            raise error

    def compose(self) -> ComposeResult:
        yield self.rows
        yield Input()

    def on_mount(self) -> None:
        self.rows.focus()
        if self._refreshing:
            # SIGHUP ends it as it is: to leave a terminal that has gone in order takes for ever
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self.exit)
            # a tenth of what call_from_thread() takes, which waits for a task of its own
            call = partial(loop.call_soon_threadsafe, context=contextvars.copy_context())
            threading.Thread(target=self._refresh_on, args=(call,), daemon=True).start()

    def on_unmount(self) -> None:
        self._ended.set()
        self._taken.set()

    def _refresh_on(self, call: Callable[..., object]) -> None:
        assert self._refreshing is not None
        with contextlib.suppress(RuntimeError):  # it ended meanwhile
            while not self._ended.is_set():
                started = time.monotonic()
                try:
                    frame = self._refreshing()
                except NetunedError as error:
                    call(self.exit, error)
                    return
                self._taken.clear()
                if self._ended.is_set():
                    return
                call(self._take, frame)
                self._taken.wait()  # a terminal that takes nothing is not to fill the memory
                self._ended.wait(max(self._interval_s - (time.monotonic() - started), 0))

    def _take(self, frame: Frame) -> None:
        self._taken.set()
        self.rows.take(frame)
        if self.screen_stack and self.screen.outer_size != self.size:
            # textual lays out anew by a timer of 8 ms, which a busy machine makes it skip for good
            self.screen.post_message(events.Resize(self.size, self.size))

    # Keys

    def action_move(self, step: int) -> None:
        self.rows.choose(self.rows.chosen + step)

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(self.rows.size.height - HEAD - 1, 1))

    def action_turn(self, step: int) -> None:
        if len(self.screen_stack) == 1:
            self.rows.turn(step)

    def action_invert(self) -> None:
        self.rows.invert()

    def action_sort(self, column: str) -> None:
        if column == NAME or any(c.name == column for c in self.rows.view.columns):
            self.rows.sort_by(column)

    def action_freeze(self) -> None:
        self.rows.frozen = not self.rows.frozen
        self.rows.refresh()

    def action_unfilter(self) -> None:
        self.rows.needle = ""
        self.rows.lay_out()

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_sorts(self) -> None:
        def sort(column: str | None) -> None:
            if column:
                self.rows.sort_by(column)

        self.push_screen(Sorts(self.rows.view), sort)

    # A line to type in

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """What opens the line comes before all else, so that what is typed next is for the line."""
        return action != "type" or (not self._typing and len(self.screen_stack) == 1)

    def action_type(self, what: str) -> None:
        line = self.query_one(Input)
        self._typing = what
        line.placeholder = what
        line.value = self.rows.needle if what == "filter" else ""
        line.styles.display = "block"
        self.screen.set_focus(line)

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._typing == "filter":
            self.rows.needle = event.value
            self.rows.lay_out()
        elif self._typing and event.value:
            self.rows.search(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._leave_line()

    def on_key(self, event: events.Key) -> None:
        if self._typing and event.key == "escape":
            event.stop()
            if self._typing == "filter":
                self.action_unfilter()
            self._leave_line()

    def _leave_line(self) -> None:
        self._typing = ""
        self.query_one(Input).styles.display = "none"
        self.screen.set_focus(self.rows)


class Help(ModalScreen[None]):
    """What the keys do; any ends it."""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(HELP, markup=False)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss()

    def on_click(self) -> None:
        self.dismiss()


class Sorts(ModalScreen[str]):
    """The columns of a view; the result is the name of that which is chosen."""

    BINDINGS = [Binding("escape,q,f10", "dismiss('')")]  # noqa: RUF012  # as above

    def __init__(self, view: View) -> None:
        super().__init__()
        self._names = (NAME, *(column.name for column in view.columns))
        self._titles = (view.title, *(column.title for column in view.columns))

    def compose(self) -> ComposeResult:
        with Vertical():
            yield OptionList(*(title.replace("[", "") for title in self._titles))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])
