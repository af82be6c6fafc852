"""Writing a profile where the daemon reads it: shown first, agreed to, whole or not at all."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from netuned import statefile
from netuned.bus.client import Client
from netuned.cli import cutoff
from netuned.cli.arguments import add_profiles
from netuned.cli.plan import Answer, plan_drop, show
from netuned.cli.text import Screen
from netuned.errors import AbsentError, NetunedError
from netuned.regularfile import open_regular
from netuned.status import IN_SYNC, PARTIAL, UNMANAGED, NicStatus
from netuned.text import escape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What commands that write profiles have in common."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_profiles(
        parser,
        "the directories of profiles, the one to write into first "
        "(default: the daemon's, /etc/netuned/profiles.d first)",
    )


def first(directories: Sequence[str]) -> str:
    """The directory that is written into."""
    from netuned.profiles.searchpath import DEFAULT_DIRECTORIES

    return (*directories, *DEFAULT_DIRECTORIES)[0].rstrip("/")


def planned(texts: Mapping[str, bytes], directories: Sequence[str]) -> Answer:
    """What this host's plan would be with these files, by path.

    Raises: NetunedError; also if they have a mistake, which goes to standard error.
    """
    from netuned.snapshots import offline

    return plan_drop(*offline.load_texts(texts, None, directories), directories)


def show_plan(
    answer: Answer, names: Sequence[str], screen: Screen, *, tried: bool = False, how: str = ""
) -> str:
    """The plan of these cards, or of all, with what it may cut off."""
    shown = answer.of(answer.own_names(names)) if names else answer
    warnings = cutoff.warnings(shown.plan.changes, tried=tried, how=how, any_change=True)
    parts = [show(shown, names, screen)]
    parts += [screen.sentence(f"Warning: {warning}") for warning in warnings]
    return "\n".join(parts)


def agreed(question: str, *, yes: bool) -> bool:
    """Whether it is to be done: asked on a terminal. Raises: NetunedError where nobody is."""
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise NetunedError("nobody is here to agree, so nothing was written; --yes does not ask")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


@contextlib.contextmanager
def written(texts: Mapping[str, bytes | None]) -> Iterator[None]:
    """Write files (or take away those of None), and put them back as they were on an error.

    Raises: NetunedError.
    """
    before = {path: content(path) for path in texts}
    try:
        for path, text in texts.items():
            _put(path, text)
        yield
    except BaseException:
        for path, was in before.items():
            try:
                _put(path, was)
            except NetunedError as error:
                print(f"netunedctl: not put back: {escape(error.whole())}", file=sys.stderr)
        with contextlib.suppress(NetunedError):  # it may have read them before it failed
            reload()
        raise


def content(path: str) -> bytes | None:
    """What is there, None if nothing is. Raises: NetunedError, also for what is no plain file."""
    try:
        if os.path.islink(path):
            raise NetunedError(f"{path}: is a link, so it is left alone; take it away first")
        with open(path, "rb", opener=open_regular) as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NetunedError(f"{path}: cannot be read: {error.strerror}") from None


def _put(path: str, content: bytes | None) -> None:
    """Raises: NetunedError."""
    target = Path(path)
    try:
        if content is None:
            target.unlink(missing_ok=True)
            return
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        statefile.write_atomically(target, content, mode)
    except OSError as error:
        root = "; only root can write there" if isinstance(error, PermissionError) else ""
        raise NetunedError(f"{path}: cannot be written: {error.strerror}{root}") from None


def show_file(path: str, text: str) -> str:
    """A file as it would be."""
    lines = "".join(f"  {escape(line)}\n" for line in text.splitlines())
    return f"{escape(path)}:\n{lines}"


def reload(names: Collection[str] = (), profile: str = "") -> tuple[list[str], bool]:
    """Have the daemon read the profiles and bring them into force.

    Returns how these cards are then, or those that a profile is in force on, as sentences; and
    whether all that is as asked for. Raises: NetunedError.
    """
    try:
        with Client() as client:
            client.reload()
            status = client.status()
    except AbsentError as error:
        return [f"{error}; once it does (systemctl enable --now netuned), it is in force."], True
    nics = [n for n in status.nics if n.name in names or (profile and n.profile == profile)]
    said = [_how(nic) for nic in nics]
    if status.manager.pending_confirm:
        said.append(f"To be confirmed: {status.manager.pending_confirm}")
    if profile and not nics:
        said.append(f"{profile} is in force on no card.")
    good = all(nic.state in (IN_SYNC, PARTIAL, UNMANAGED) for nic in nics)
    return said, good and not status.manager.pending_confirm


def _how(nic: NicStatus) -> str:
    with_ = f"with profile {nic.profile}" if nic.profile else "without a profile"
    why = nic.last_error or next((s.reason for s in nic.settings if s.reason), "")
    return f"{nic.name} is {nic.state}, {with_}{f': {why}' if why else ''}."
