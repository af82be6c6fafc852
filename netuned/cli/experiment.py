"""``netunedctl experiment``: profiles take turns on a card, and what they change is measured."""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import ModuleType
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.bus.client import Client
from netuned.cli import turns
from netuned.cli.arguments import add_profiles, card_name, duration_s, nic_named
from netuned.cli.report import needing_jinja
from netuned.cli.text import Screen, print_json
from netuned.errors import NetunedError
from netuned.leanness import let_in
from netuned.records import dataclass
from netuned.text import escape, no_such

if TYPE_CHECKING:
    from netuned.experiment.outcome import Outcome, Run
    from netuned.experiment.window import Times

NONE = "none"
MOST_RUNS, MOST_ARMS = 100, 8
LEAST, LEAST_TRIMMED = 2, 4
"""Runs of each, all of which count, or all but the first and the last."""
SPARE_S = 60
"""How much longer than a turn a trial waits: then the daemon undoes it by itself."""
WITH_LOAD, LIVE = "gbit_s", "cpu_us_per_packet"
"""What the verdict is about: of a load how much it moves; of traffic that comes as it likes, what
each packet costs."""
NO_SCIPY = (
    "experiments need scipy, which is not installed: `apt install python3-scipy`, or "
    "`pip install 'netuned[experiment]'` where netuned came from there"
)


@dataclass(frozen=True, slots=True)
class Arm:
    """What takes turns with others: its name, and what its profile says."""

    name: str
    content: Mapping[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "arms", metavar="PROFILE", nargs="*", help="a profile; none is no profile at all"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        nargs="+",
        action="append",
        default=[],
        help="instead of a profile these keys alone, like qdisc.kind=fq (several times)",
    )
    parser.add_argument(
        "--card", metavar="NIC", type=card_name, required=True, help="the card they are tried on"
    )
    parser.add_argument(
        "--runs", type=_runs, default=5, metavar="N", help="turns of each (default: 5)"
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=duration_s,
        default=30,
        help="how long each turn is measured (default: 30s)",
    )
    parser.add_argument(
        "--settle",
        metavar="TIME",
        type=duration_s,
        default=2,
        help="after a change, before the load (default: 2s)",
    )
    parser.add_argument(
        "--warm-up",
        metavar="TIME",
        type=duration_s,
        default=3,
        help="under load, before it is measured (default: 3s)",
    )
    traffic = parser.add_mutually_exclusive_group(required=True)
    traffic.add_argument(
        "--load",
        metavar="COMMAND",
        default="",
        help="run this in each turn; {seconds} in it is how long it has to last",
    )
    traffic.add_argument("--live", action="store_true", help="measure the traffic that is there")
    parser.add_argument("--order", choices=("abba", "random"), default="abba", help="of the turns")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of random orders and of resampling"
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        default="",
        help=f"what the verdict is about (default: {WITH_LOAD}; with --live {LIVE})",
    )
    parser.add_argument(
        "--drop-ends", action="store_true", help="leave the first and the last turns out"
    )
    parser.add_argument(
        turns.LINK_LOSS, action="store_true", help="also what drops the link in each turn"
    )
    parser.add_argument(
        turns.OWN_LINK,
        action="store_true",
        help="also a card that carries the default route or this SSH session",
    )
    add_profiles(parser, f"the directory to write into (default: {turns.DIRECTORY})")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--html", action="store_true", help="print a page of HTML")


def _runs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 2 <= int(text[:4]) <= MOST_RUNS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 2 to {MOST_RUNS}")
    return int(text)


@contextmanager
def needing_scipy() -> Iterator[None]:
    """For imports. Raises: NetunedError where scipy is not installed."""
    let_in("importlib.metadata")
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("scipy", "numpy"):
            raise
        raise NetunedError(NO_SCIPY) from None


def _outcome_page() -> ModuleType:
    """What makes the page. Raises: NetunedError where Jinja2 is not installed."""
    with needing_jinja():
        from netuned.report import outcome
    return outcome


def run(arguments: argparse.Namespace) -> int:
    with needing_scipy():  # before anything is changed
        from netuned.experiment.outcome import outcome
    page = _outcome_page() if arguments.html else None

    arms = arms_of(arguments.arms, arguments.settings)
    main = arguments.metric or (LIVE if arguments.live else WITH_LOAD)
    times = check(arguments)
    # a shell that starts it in the background has this ignored, and then the load would ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()  # it takes minutes, which main() does not expect of a command
    runs, is_all = _take_turns(arguments, arms, times, main)
    last = runs[-1].block
    counted = [run for run in runs if not (arguments.drop_ends and run.block in (0, last))]
    found = outcome([arm.name for arm in arms], counted, main, arguments.seed)
    if arguments.json:
        print_json(as_json(found, runs, arguments.card, times, arguments.seed))
    elif page:
        for piece in page.html(found, counted, arguments.card, time.time()):
            sys.stdout.buffer.write(piece.encode("utf-8", "backslashreplace"))
    else:
        print(show(found, Screen.of_stdout()), end="")
    return 0 if is_all else 1


def check(arguments: argparse.Namespace) -> Times:
    """How long things take. Raises: NetunedError for words that no experiment is made of."""
    from netuned.experiment.measures import MEASURES
    from netuned.experiment.window import Times
    from netuned.profiles.timeout import MOST_S

    if arguments.metric and arguments.metric not in MEASURES:
        raise NetunedError(no_such("metric", arguments.metric, MEASURES))
    if arguments.drop_ends and arguments.runs < LEAST_TRIMMED:
        raise NetunedError("--drop-ends leaves two runs fewer; use `--runs 4` or more")
    try:
        shlex.split(arguments.load)
    except ValueError as error:
        raise NetunedError(f"--load: {error}; quote it as for a shell") from None
    times = Times(arguments.settle, arguments.warm_up, arguments.seconds)
    if times.turn_s + SPARE_S > MOST_S:
        raise NetunedError("a turn is a trial, of an hour at most; say a shorter `--for`")
    return times


def arms_of(profiles: Sequence[str], settings: Sequence[Sequence[str]]) -> list[Arm]:
    """Raises: NetunedError for fewer than two, the same twice, or what is no ``KEY=VALUE``."""
    arms = [Arm(name, {} if name == NONE else {"extends": json.dumps([name])}) for name in profiles]
    arms += [Arm(" ".join(words), _keys(words)) for words in settings]
    names = [arm.name for arm in arms]
    if len(names) < 2:
        raise NetunedError("an experiment is of two or more; `none` is no profile at all")
    if len(names) > MOST_ARMS:
        raise NetunedError(f"that are {len(names)} to take turns; name {MOST_ARMS} at most")
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise NetunedError(f"{twice} is there twice; name it once")
    return arms


def _keys(words: Sequence[str]) -> dict[str, object]:
    """Keys below keys; values as they were written. Raises: NetunedError."""
    content: dict[str, object] = {}
    for word in words:
        key, is_there, value = word.partition("=")
        *above, last = key.split(".")
        within = content
        for part in above:
            below = within.setdefault(part, {})
            if not isinstance(below, dict):
                raise NetunedError(f"--set {word}: {part} has a value already; say it once")
            within = below
        if not (is_there and value.strip() and all([*above, last])) or "\n" in word:
            raise NetunedError(f"--set {word}: is not KEY=VALUE, like qdisc.kind=fq; write it so")
        if last in within:
            raise NetunedError(f"--set {word}: {key} has a value already; say it once")
        within[last] = value
    return content


def _take_turns(
    arguments: argparse.Namespace, arms: Sequence[Arm], times: Times, main: str
) -> tuple[list[Run], bool]:
    """What was measured, and whether that is all.

    Of a turn that fails the error is told, and whole blocks before it count. The card is as before
    in any case. Raises: NetunedError, also where too few blocks are whole.
    """
    from netuned.experiment import order
    from netuned.experiment.outcome import Run
    from netuned.experiment.window import counted
    from netuned.hardware.host import read_host
    from netuned.hardware.namespace import check_namespace
    from netuned.kernel import Kernel
    from netuned.profiles.profile import MAX_PRIORITY
    from netuned.snapshots.capturing import selecting

    kernel = Kernel()
    check_namespace(kernel)
    nic = nic_named(arguments.card, read_host(kernel).nics.values())
    texts = [turns.text_of(arm.content, selecting(nic), MAX_PRIORITY) for arm in arms]
    stage = turns.stage_of(
        wire.text(nic.name),
        (*arguments.profiles, turns.DIRECTORY)[0],
        link_loss=arguments.link_loss,
        own_link=arguments.own_link,
    )
    runs: list[Run] = []
    turn_order = order.turns(
        order.blocks(len(arms), arguments.runs, arguments.order, arguments.seed)
    )
    with turns.watched(stage) as watch, Client() as client:
        turns.check_card(client, stage)
        for tried, text in zip(arms, texts, strict=True):
            if not turns.check_arm(client, watch, stage, text):
                _tell(f"{tried.name} changes nothing on {arguments.card}")
        for number, (block, arm) in enumerate(turn_order, 1):
            try:
                in_force = turns.in_force(client, watch, stage, texts[arm], times.turn_s + SPARE_S)
                with in_force as lacking:
                    for lack in lacking if block == 0 else ():
                        _tell(f"{arms[arm].name} is not whole on {arguments.card}: {lack}")
                    now = read_host(kernel).nics.get(nic.ifindex, nic)  # queues may be others
                    measures, steps = counted(kernel, now, times, arguments.load)
            except NetunedError as error:
                if block < (LEAST_TRIMMED if arguments.drop_ends else LEAST):
                    raise
                _tell(f"netunedctl: {error.whole()} What was measured until block {block} follows.")
                return [run for run in runs if run.block < block], False
            if main not in measures:
                names = ", ".join(measures)
                raise NetunedError(f"{main} is not known of {arguments.card}; name one of {names}")
            runs.append(Run(block, arm, measures, steps))
            _tell(f"{number} of {len(turn_order)}: {arms[arm].name}: {main} {measures[main]:.4g}")
    return runs, True


def _tell(line: str) -> None:
    print(escape(line), file=sys.stderr, flush=True)


def show(found: Outcome, screen: Screen) -> str:
    """The verdict, a table of what was measured, and modes where there are two."""
    from netuned.experiment.outcome import change, interval, runs_told

    parts = [screen.sentence(found.verdict)]
    for arm, name in enumerate(found.arms[1:]):
        rows = []
        for row in found.rows:
            first, other, told = row.spreads[0], row.spreads[arm + 1], row.against_first[arm]
            rows.append(
                [
                    row.measure,
                    f"{first.median:.4g}",
                    f"{other.median:.4g}",
                    change(told),
                    interval(told).replace(" to ", "…"),
                    runs_told(told),
                ]
            )
        header = ["METRIC", found.arms[0], name, "CHANGE", "AT 95 %", "RUNS"]
        parts.append(screen.table(header, rows))
    for two in found.two_modes:
        where = "within a run" if two.within_a_run else "from run to run"
        said = (
            f"{found.arms[two.arm]} has two modes {where}: {found.main} {two.low.value:.4g} "
            f"({two.low.share:.0%}) and {two.high.value:.4g} ({two.high.share:.0%})"
        )
        apart = [f"{s.name} {s.in_low:.4g} and {s.in_high:.4g}" for s in two.separators]
        parts.append(screen.sentence(f"{said}; in these: {', '.join(apart) or 'nothing else'}."))
    return "\n".join(parts)


def as_json(
    found: Outcome, runs: Sequence[Run], card: str, times: Times, seed: int
) -> dict[str, object]:
    """The documented form."""
    told = asdict(found)
    return {
        "card": card,
        "arms": told["arms"],
        "main": told["main"],
        "verdict": told["verdict"],
        "blocks": told["blocks"],
        "metrics": [
            {
                "name": row["measure"],
                "arms": row["spreads"],
                "against_first": row["against_first"],
            }
            for row in told["rows"]
        ],
        "two_modes": told["two_modes"],
        "runs": [asdict(run) for run in runs],
        "times": asdict(times),
        "seed": seed,
    }
