"""``netunedctl edit``: edits a profile beside the daemon, and drops it once it is good."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from netuned.cli import dropping
from netuned.cli.text import Screen
from netuned.errors import NetunedError, ProfileError

NEW = b"""\
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
    before = dropping.content(path)
    screen = Screen.of_stdout()
    draft = Path(tempfile.mkdtemp(prefix="netuned-edit-")) / os.path.basename(path)
    draft.write_bytes(NEW if before is None else before)
    while True:
        try:
            _edit(draft)
        except NetunedError as error:
            raise NetunedError(f"{error}; the text is in {draft}") from None
        text = draft.read_bytes()
        if text == (NEW if before is None else before):
            print("Nothing was changed.")
            shutil.rmtree(draft.parent)
            return 0
        try:
            answer = dropping.planned({path: text}, directories)
            break
        except (NetunedError, ProfileError) as error:
            print(f"netunedctl: {error}", file=sys.stderr)
            if arguments.yes or not dropping.agreed("Edit it again?", yes=False):
                print(f"Nothing was written; the text is kept in {draft}")
                return 1
    print(dropping.show_plan(answer, (), screen), end="")
    if not dropping.agreed(f"Write {path} and bring it into force?", yes=arguments.yes):
        print(f"Nothing was written; the text is kept in {draft}")
        return 1
    if dropping.content(path) != before:
        raise NetunedError(
            f"{path}: was changed by somebody meanwhile; see how, and edit it again: your text "
            f"is in {draft}"
        )
    with dropping.written({path: text}):
        told, good = dropping.reload(profile=arguments.profile)
    shutil.rmtree(draft.parent)
    print("".join(map(screen.sentence, told)), end="")
    return 0 if good else 1


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
    said = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip()
    try:
        words = shlex.split(said or "editor")
    except ValueError as error:
        raise NetunedError(f"the editor is said to be {said!r}: {error}") from None
    try:
        ended = subprocess.run([*words, str(draft)], check=False).returncode
    except OSError as error:
        raise NetunedError(
            f"{words[0]}: {error.strerror}; say which editor by EDITOR=… in the environment"
        ) from None
    if ended:
        raise NetunedError(
            f"{words[0]} ended with status {ended}, so nothing was written; try it again"
        )
