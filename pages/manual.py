"""The manual pages: commands from their parsers, what they do and profiles from docs/."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from argparse_manpage.manpage import Manpage

from netuned import __version__
from netuned.cli.commands import COMMANDS
from netuned.cli.parser import make_parser
from netuned.daemon import make_parser as make_daemons_parser
from pages import roff

DATE = "2026-11-27"
"""Of the last time that somebody looked them through."""

TITLE = "netuned"
_MACRO = re.compile(r"\.[A-Z]{1,2}\b")


def pages(root: Path) -> dict[str, str]:
    """Each page by its place below ``/usr/share``."""
    return {
        "man/man8/netunedctl.8": "\n".join(
            [
                *_of_parser(make_parser(COMMANDS), "8", "show and control netuned"),
                *_doc(root / "docs/cli.md", "NOTES", {"COMMANDS": "COMMANDS IN DETAIL"}),
                *_see_also("netuned (8)", "netuned.profile (5)", "journalctl (1)", "busctl (1)"),
            ]
        ),
        "man/man8/netuned.8": "\n".join(
            [
                *_of_parser(make_daemons_parser(), "8", "keep network cards as profiles say"),
                *roff.sections(
                    (Path(__file__).parent / "netuned.8.md").read_text("utf-8"), "NOTES"
                )[1:],
                *_see_also("netunedctl (8)", "netuned.profile (5)", "systemd.service (5)"),
            ]
        ),
        "man/man8/netuned-exporter.8": "\n".join(
            [
                _head("netuned-exporter", "8"),
                *(".SH NAME", "netuned-exporter \\- tell Prometheus what netuned does"),
                *roff.sections(
                    (Path(__file__).parent / "netuned-exporter.8.md").read_text("utf-8"), "SYNOPSIS"
                ),
                *_see_also("netuned (8)", "netunedctl (8)", "systemctl (1)"),
            ]
        ),
        "man/man5/netuned.profile.5": "\n".join(
            [
                _head("netuned.profile", "5"),
                *(".SH NAME", "netuned.profile \\- the state in which network cards are kept"),
                *_doc(root / "docs/profiles.md", "DESCRIPTION", {}),
                *_see_also("netuned (8)", "netunedctl (8)", "ethtool (8)", "tc (8)"),
            ]
        ),
    }


def _head(name: str, section: str) -> str:
    return f'.TH {name.upper()} {section} {DATE} "netuned {__version__}" "{TITLE}"'


def _of_parser(parser: argparse.ArgumentParser, section: str, what: str) -> Iterator[str]:
    """What argparse-manpage makes of a parser, without what mandoc has a word for."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                subparser.description = None  # it says what the summary does
    made = Manpage(parser, {"date": DATE}, "single-commands-section")
    made.description, made.section = what, section
    yield _head(parser.prog, section)
    yield from roff.without_empty(_tidied(str(made).splitlines()[1:]))


def _tidied(lines: list[str]) -> Iterator[str]:
    for line in lines:
        plain = line.replace("\\,", "").replace("\\/", "").strip()
        if not plain:
            yield ".PP"
        elif plain in ("arguments:", "options:"):
            yield from (".PP", plain)
        elif _MACRO.match(plain):
            yield plain
        else:
            yield from roff.filled(plain.replace("POSITIONAL ARGUMENTS", "COMMANDS"))


def _doc(path: Path, first: str, renamed: dict[str, str]) -> Iterator[str]:
    for line in roff.sections(path.read_text("utf-8"), first):
        title = line.removeprefix(".SH ")
        yield f".SH {renamed[title]}" if line != title and title in renamed else line


def _see_also(*names: str) -> Iterator[str]:
    yield ".SH SEE ALSO"
    for name in names[:-1]:
        yield f".BR {name},"
    yield f".BR {names[-1]}\n"
