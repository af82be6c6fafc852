"""``netunedctl edit``: edits a profile beside the daemon, and drops it once it is good."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from netuned.cli import dropping
from netuned.cli.text import Screen
from netuned.errors import NetunedError, ProfileError

NEW = """\
# Keys and examples: docs/profiles.md; `netunedctl profiles` lists what can be extended.
extends: [throughput]
match:
  - {name: "en*"}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", metavar="PROFILE", help="the profile, or a new one")
    dropping.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    directories = arguments.profiles
    path = _path_of(arguments.profile, directories)
    there = Path(path)
    before = there.read_text() if there.exists() else ""
    screen = Screen.of_stdout()
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / there.name
        draft.write_text(before or NEW)
        while True:
            _edit(draft)
            text = draft.read_text()
            if text == before:
                print("Nothing was changed.")
                return 0
            try:
                answer = dropping.planned({path: text.encode()}, directories)
                break
            except (NetunedError, ProfileError) as error:
                print(f"netunedctl: {error}", file=sys.stderr)
                if not dropping.agreed("Edit it again?", yes=False):
                    print("Nothing was written.")
                    return 1
    print(dropping.show_plan(answer, (), screen), end="")
    if not dropping.agreed(f"Write {path} and bring it into force?", yes=arguments.yes):
        print("Nothing was written.")
        return 1
    with dropping.written({path: text}):
        absent = dropping.reload()
    print(screen.sentence(absent or "In force."), end="")
    return 0


def _path_of(name: str, directories: Sequence[str]) -> str:
    """The file of a profile in the directory that is written into.

    Raises: NetunedError where it has another place, or the name is none.
    """
    from netuned.profiles.profile import PROFILE_NAME
    from netuned.snapshots import offline

    if not PROFILE_NAME.fullmatch(name):
        raise NetunedError(f"{name!r} is no name of a profile: letters, digits, `-`, `_` and `.`")
    own = dropping.first(directories)
    loaded = offline.load_texts({}, None, directories, templates=True)[1].profiles
    found = next((one for one in loaded.profiles if one.profile.name == name), None)
    if found is None:
        return f"{own}/{name}.yaml"
    if os.path.dirname(found.path) != own:
        raise NetunedError(
            f"{name} is {found.path}, which is not the administrator's: write one that extends "
            f"it, with `netunedctl enable {name} NIC` or `netunedctl edit NEW`"
        )
    return found.path


def _edit(draft: Path) -> None:
    """Raises: NetunedError where there is no editor, or it fails."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "editor")
    try:
        ended = subprocess.run([*words, str(draft)], check=False).returncode
    except OSError as error:
        raise NetunedError(
            f"{words[0]}: {error.strerror}; say which editor by EDITOR=… in the environment"
        ) from None
    if ended:
        raise NetunedError(f"{words[0]} ended with status {ended}, so nothing was written")
