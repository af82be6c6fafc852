"""netunedctl's entry point: finds the command, runs it, turns errors into one sentence.

Exit status: 0 done or in sync; 1 failure; 2 wrong usage; 3 changes pending or drift, for
``--exit-code``.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from netuned.errors import NetunedError
from netuned.leanness import help_formatter, leave_out
from netuned.text import escape, no_such

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

COMMANDS = {
    "status": "show which cards are in sync, or one card queue by queue",
    "plan": "show what would be changed: what, from, to, and why",
    "apply": "bring cards into the state their profiles describe",
    "reload": "read the profiles again and bring them into force",
    "enable": "bring a profile into force on cards, by a file that is shown first",
    "disable": "take away what enable wrote, and put back what was there before",
    "edit": "edit a profile, and bring it into force once it is good",
    "diff": "show what two profiles say differently",
    "pause": "leave a card alone until it is resumed",
    "resume": "manage a paused card again",
    "confirm": "keep what was applied with --confirm",
    "rollback": "undo at once what was applied with --confirm",
    "restore": "put back what was there before netuned, and leave it alone",
    "check": "check profiles, without the daemon",
    "profiles": "show the loaded profiles and where they are in force",
    "schema": "print the JSON Schema of profiles",
    "history": "show what was changed, why, and who asked for it",
    "top": "show what cards, queues and CPUs do, refreshed, without the daemon",
    "watch": "show changes, drifts, repairs and contentions as they happen",
    "explain": "tell why a card has its profile, CPUs and queues, without the daemon",
    "doctor": "find what costs packets, CPU time or latency, and what mends it",
    "capture": "write a profile that says what a card is set to now",
    "import": "make profiles of what other tools' files set",
    "report": "write one page that shows CPUs, queues, load, the plan and what was changed",
    "fleet": "plan a change for snapshots of many hosts, or find which of them drifted",
    "metrics": "print what Prometheus collects of netuned, or write it into a file",
    "snapshot": "write what netuned reads of this host into one file",
}
"""Each is a module of that name with ``add_arguments(parser)`` and ``run(arguments) -> int``."""

INTERRUPTED = 130


def main() -> NoReturn:
    """Entry point of ``netunedctl``."""
    gc.disable()  # a process this short has nothing worth collecting
    leave_out()
    status = run(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(status)  # freeing everything in order takes 7 ms


def run(words: Sequence[str]) -> int:
    """Run a command. Returns the exit status."""
    _prepare_output()
    try:
        status = _run(words)
        sys.stdout.flush()
    except NetunedError as error:
        _complain(error.whole())
        return 1
    except BrokenPipeError:
        _discard_output()  # the reader has seen enough
        return 1
    except OSError as error:
        _discard_output()
        _complain(str(error) if error.filename else f"cannot write the output: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _prepare_output() -> None:
    """Let any text be printed: what the locale cannot encode as ``\\xd7``.

    Python has None for a standard output or error that is closed; nothing is printed there then.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for all the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Keep a later flush from failing again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"netunedctl: {escape(text)}", file=sys.stderr)


def _run(words: Sequence[str]) -> int:
    words = words or ["status"]
    if words[0] not in COMMANDS and not words[0].startswith("-"):
        _complain(no_such("command", words[0], COMMANDS))
        return 2
    # All of them only where the names are to be shown; the others' modules are not even imported.
    parser = make_parser(words[:1] if words and words[0] in COMMANDS else COMMANDS)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as left:  # after help, the version or wrong usage
        return left.code if isinstance(left.code, int) else 1
    status: int = arguments.run(arguments)
    return status


def make_parser(commands: Iterable[str]) -> argparse.ArgumentParser:
    """What takes these commands of ``COMMANDS``, and no others."""
    parser = _Parser(
        prog="netunedctl",
        description="Show and control netuned, which keeps network cards as their profiles say. "
        "Without a command it shows the status.",
        formatter_class=help_formatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    parsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in commands:
        module = importlib.import_module(f"netuned.cli.{name}")
        summary = COMMANDS[name]
        subparser = parsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=help_formatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Not argparse's own, which is silent where the help cannot be written."""
        print(self.format_help(), end="", file=file)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from netuned import __version__

        parser.exit(message=f"netunedctl {__version__}\n")
