"""``netunedctl check``: finds the mistakes in profiles, without the daemon."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from netuned.cli import cutoff
from netuned.cli.text import print_json
from netuned.cpuset import CpuSet
from netuned.errors import NetunedError, ProfileError
from netuned.kernel.files import Files
from netuned.kernel.routes import reached_over
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.profiles.loader import Checked

EMPTY = "empty, so it masks the profile in a file of this name in the directories below"
POSSIBLE = "/sys/devices/system/cpu/possible"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a profile")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from netuned.profiles.loader import DEFAULT_DIRECTORIES, Checked, examine, shipped_templates
    from netuned.profiles.settings import check_settings, is_settings

    possible = possible_cpus(Files())
    directories = dict.fromkeys(
        (*DEFAULT_DIRECTORIES, shipped_templates() or DEFAULT_DIRECTORIES[-1])
    )
    checked = {
        file: Checked(check_settings(file))
        if is_settings(file)
        else examine(file, tuple(directories), possible=possible)
        for file in arguments.files
    }
    profiles = [f for f, found in checked.items() if not found.errors and not is_settings(f)]
    warnings = link_warnings(profiles)
    if arguments.json:
        files = [as_json(file, found) for file, found in checked.items()]
        print_json({"files": files, "warnings": warnings})
    else:
        for file, found in checked.items():
            told = [str(each) for each in (*found.errors, *found.doubts)]
            good = f"{file}: {EMPTY if found.empty else 'good'}"
            for line in told or (good,):
                print(escape(line))
        for warning in warnings:
            print(escape(f"Warning: {warning}"))
    return 1 if any(found.errors for found in checked.values()) else 0


def link_warnings(files: Sequence[str]) -> list[str]:
    """That these profiles, dropped on this host, would drop the link it is reached over.

    Nothing where that cannot be told, of a host that cannot be read or of files by other names.
    """
    from netuned.snapshots import offline

    if not (files and reached_over(Files())):
        return []
    try:
        kernel, drop = offline.load_with(files, None)
        host, desired = offline.host_and_desired(kernel, drop.profiles)
        if not {loaded.path for loaded in desired.profiles.values()} & set(drop.dropped):
            return []
        plan = offline.plan(kernel, drop.profiles, (host, desired))
    except NetunedError:
        return []
    of_files = {
        host.nics[ifindex].name
        for ifindex, loaded in desired.profiles.items()
        if loaded.path in drop.dropped
    }
    return cutoff.warnings(change for change in plan.changes if change.ifname in of_files)


def possible_cpus(files: Files) -> CpuSet | None:
    """The CPUs this host can have, as the daemon reads them; None where that cannot be read."""
    try:
        return CpuSet.parse_list(files.read_text(POSSIBLE, "")) or None
    except ValueError:
        return None


def as_json(file: str, found: Checked) -> dict[str, object]:
    """The documented form of what is said of one file."""
    return {
        "path": file,
        "errors": [asdict(error) for error in found.errors],
        "warnings": [_warning(doubt) for doubt in found.doubts],
        "masks": found.empty,
    }


def _warning(doubt: ProfileError) -> dict[str, object]:
    """A doubt without the word that tells it from an error where there is no key for it."""
    return {**asdict(doubt), "problem": doubt.problem.removeprefix("warning: ")}
