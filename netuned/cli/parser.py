"""What takes the command line; argparse is imported where there is more of it than a command."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from netuned.cli.commands import COMMANDS
from netuned.leanness import help_formatter

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


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
