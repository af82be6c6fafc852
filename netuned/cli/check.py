"""``netunedctl check``: finds the mistakes in profiles, without the daemon."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

from netuned.cli import cutoff
from netuned.cli.text import print_json
from netuned.cpuset import CpuSet
from netuned.errors import NetunedError, ProfileError
from netuned.kernel.files import Files, FileTree
from netuned.kernel.routes import reached_over
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.kernel import Kernel
    from netuned.profiles.loader import Checked

EMPTY = "empty, so it masks the profile in a file of this name in the directories below"
POSSIBLE = "/sys/devices/system/cpu/possible"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a profile")
    parser.add_argument(
        "--facts",
        metavar="FILE",
        action="append",
        default=[],
        help="for the host of a snapshot or a described machine instead of this one (several "
        "times, too): plan the profiles there, and warn of what it cannot have",
    )
    parser.add_argument("--strict", action="store_true", help="count warnings as mistakes")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from netuned.profiles.loader import DEFAULT_DIRECTORIES, shipped_templates
    from netuned.profiles.searchpath import is_profile
    from netuned.profiles.settings import is_settings

    templates = shipped_templates()
    checked, warnings = {}, []
    if arguments.facts:
        from netuned.snapshots import offline

        hosts = {path: offline.find_host(path)[0] for path in arguments.facts}
        possible = [possible_cpus(kernel.files) for kernel in hosts.values()]
        directories = [templates] if templates else []
    else:
        possible = [possible_cpus(Files())]
        directories = [*DEFAULT_DIRECTORIES, *filter(None, [templates])]
    for file in arguments.files:
        checked[file] = _checked(file, tuple(dict.fromkeys(directories)), possible)
    profiles = [f for f, found in checked.items() if not found.errors and not is_settings(f)]
    if arguments.facts:
        profiles = [file for file in profiles if is_profile(os.path.basename(file))]
        judged = judge(profiles, hosts, templates)
        warnings = list(judged.warnings)
        for file in profiles:
            errors = tuple(error for error in judged.refused if error.path == file)
            checked[file] = replace(checked[file], errors=errors)
    else:
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
    doubtful = warnings or any(found.doubts for found in checked.values())
    wrong = any(found.errors for found in checked.values())
    return 1 if wrong or (arguments.strict and doubtful) else 0


def _checked(file: str, directories: tuple[str, ...], possible: Sequence[CpuSet | None]) -> Checked:
    """What is wrong with a file, as profile on a host of each of these CPUs, or as settings."""
    from netuned.profiles.loader import Checked, examine
    from netuned.profiles.settings import check_settings, is_settings

    if is_settings(file):
        return Checked(check_settings(file))
    found = [examine(file, directories, possible=cpus) for cpus in possible]
    errors = {str(error): error for one in found for error in one.errors}
    doubts = {} if errors else {str(doubt): doubt for one in found for doubt in one.doubts}
    return Checked(tuple(errors.values()), tuple(doubts.values()), found[0].empty)


class Judged(NamedTuple):
    """What some hosts would make of profiles: mistakes of several together, and warnings."""

    refused: tuple[ProfileError, ...]
    warnings: tuple[str, ...]


def judge(files: Sequence[str], hosts: Mapping[str, Kernel], templates: str) -> Judged:
    """Plan profiles on hosts, by the names of these, as if all of a directory were dropped there.

    Raises: KernelError.
    """
    refused: dict[str, ProfileError] = {}
    warnings: list[str] = []
    for directory in dict.fromkeys(map(os.path.dirname, files)):
        its = [file for file in files if os.path.dirname(file) == directory]
        idle = {}
        for name, kernel in hosts.items():
            wrong, said, idle[name] = _on_host(kernel, its, directory or ".", templates)
            refused |= {str(error): error for error in wrong}
            warnings += (f"{name}: {each}" for each in said)
        warnings += (
            f"{' and '.join(hosts)}: {sentence}"
            for path, sentence in next(iter(idle.values())).items()
            if all(path in others for others in idle.values())
        )
    return Judged(tuple(refused.values()), tuple(dict.fromkeys(warnings)))


def _on_host(
    kernel: Kernel, files: Sequence[str], directory: str, templates: str
) -> tuple[tuple[ProfileError, ...], list[str], dict[str, str]]:
    """What is refused of these files, warnings, and which of them no card has, with why."""
    from netuned.planning import dropped
    from netuned.profiles.loader import load_dropped
    from netuned.profiles.trust import ANYONE, read_trusted
    from netuned.snapshots import offline

    texts = {file: read_trusted(file, ANYONE) or b"" for file in files}
    possible = possible_cpus(kernel.files)
    drop = load_dropped(texts, [directory], possible=possible, owner=ANYONE, templates=templates)
    if drop.refused:
        return drop.refused, [], {}
    host, desired = offline.host_and_desired(kernel, drop.profiles)
    plan = offline.plan(kernel, drop.profiles, (host, desired))
    said = [f"{problem.ifname or 'host'}: {problem.message}" for problem in plan.problems]
    said += [f"{lack.ifname or 'host'} cannot have {lack.tunable}: {lack.why}"
             for lack in plan.unsupported]  # fmt: skip
    loaded = [one for one in drop.profiles.profiles if one.profile.match]
    idle = {
        one.path: sentence
        for one in loaded
        if one.path in texts
        for sentence in dropped.idle([one.path], loaded, host.nics, desired.profiles)
    }
    return (), said, idle


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


def possible_cpus(files: FileTree) -> CpuSet | None:
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
