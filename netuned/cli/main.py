"""netunedctl's entry point: finds the command, runs it, turns errors into one sentence.

Exit status: 0 done or in sync; 1 failure; 2 wrong usage; 3 changes pending or drift, for
``--exit-code``.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import NoReturn

from netuned.cli.commands import COMMANDS
from netuned.errors import NetunedError
from netuned.leanness import leave_out
from netuned.text import escape, no_such

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
    if list(words) == ["status"]:  # what is asked most often does without argparse: 4 ms
        from netuned.cli import status as plainly

        return plainly.run(SimpleNamespace(**plainly.PLAIN))
    from netuned.cli.parser import make_parser

    # All of them only where the names are to be shown; the others' modules are not even imported.
    parser = make_parser(words[:1] if words[0] in COMMANDS else COMMANDS)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as left:  # after help, the version or wrong usage
        return left.code if isinstance(left.code, int) else 1
    status: int = arguments.run(arguments)
    return status
