"""``netunedctl check``: finds the mistakes in profiles, without the daemon."""

from __future__ import annotations

import argparse

from netuned.cli.text import print_json
from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.kernel.files import Files
from netuned.text import escape

POSSIBLE = "/sys/devices/system/cpu/possible"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a profile")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from netuned.profiles.loader import DEFAULT_DIRECTORIES, check, shipped_templates

    possible = possible_cpus(Files())
    directories = dict.fromkeys(
        (*DEFAULT_DIRECTORIES, shipped_templates() or DEFAULT_DIRECTORIES[-1])
    )
    errors = {file: check(file, tuple(directories), possible=possible) for file in arguments.files}
    if arguments.json:
        print_json({"files": [as_json(file, found) for file, found in errors.items()]})
    else:
        for file, found in errors.items():
            for line in map(str, found) if found else (f"{file}: good",):
                print(escape(line))
    return 1 if any(errors.values()) else 0


def possible_cpus(files: Files) -> CpuSet | None:
    """The CPUs this host can have, as the daemon reads them; None where that cannot be read."""
    try:
        return CpuSet.parse_list(files.read_text(POSSIBLE, "")) or None
    except ValueError:
        return None


def as_json(file: str, errors: tuple[ProfileError, ...]) -> dict[str, object]:
    """The documented form of one file's errors."""
    return {
        "path": file,
        "errors": [
            {"path": e.path, "line": e.line, "column": e.column, "key": e.key, "problem": e.problem}
            for e in errors
        ],
    }
