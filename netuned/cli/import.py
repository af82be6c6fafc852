"""``netunedctl import``: makes profiles of what other tools' files set."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netuned.cli.text import print_json
from netuned.errors import NetunedError
from netuned.text import HASH_KEY, counted, escape

if TYPE_CHECKING:
    from netuned.importing.found import Found
    from netuned.importing.profiles import Imported

SIZE_MOST = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a TuneD profile, a .link file, a perftune.yaml, a file of sysctl.d, a shell script",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--out", metavar="DIR", help="write a file for each profile into this directory"
    )


def run(arguments: argparse.Namespace) -> int:
    from netuned.importing.profiles import bring, reader_of

    found: list[Found] = []
    where: list[str] = []
    for file in arguments.files:
        text = _read(file)
        lines = list(_lines(file, reader_of(file, text)(text)))
        found += lines
        where += [file] * len(lines)
    imported = bring(found)
    left = [
        (f"{file}:{one.line}", one)
        for file, one in zip(where, imported.lines, strict=True)
        if one.why
    ]
    if arguments.json:
        print_json(_as_json(imported, left))
        return 0
    comments = [f"# {escape(f'{place}: {one.text}: {one.why}')}" for place, one in left]
    if arguments.out:
        _write(imported, arguments.out)
        print("".join(f"{line[2:]}\n" for line in comments), end="", file=sys.stderr)
    else:
        print("\n---\n".join(_texts(imported)) or "# Nothing here is for a profile.")
        print("".join(f"{line}\n" for line in comments), end="")
    if left:
        told = f"{len(left)} of {counted(len(found), 'setting')} could not be brought"
        print(f"netunedctl: {told}, for the reasons given", file=sys.stderr)
    return 0


def _read(file: str) -> str:
    """Raises: NetunedError."""
    try:
        with open(0 if file == "-" else file, "rb", closefd=file != "-") as opened:
            content = opened.read(SIZE_MOST + 1)
    except OSError as error:
        raise NetunedError(f"{file}: {error.strerror}") from None
    if len(content) > SIZE_MOST:
        raise NetunedError(
            f"{file}: it has more than 1 MiB, so it is none of these files: "
            "`netunedctl import --help` says which"
        )
    return content.decode("utf-8-sig", "replace")


def _lines(file: str, lines: Iterator[Found]) -> Iterator[Found]:
    try:
        yield from lines
    except NetunedError as error:
        raise NetunedError(f"{file}: {error}") from None


def _texts(imported: Imported) -> Iterator[str]:
    from netuned.profiles.yamlwriting import dump

    for card, profile in imported.profiles.items():
        several = len(imported.profiles) > 1
        head = f"# For {_called(card)}: a file of its own.\n" if several else ""
        yield head + dump(profile).rstrip("\n")


def _called(card: str) -> str:
    return escape(card.replace("\n", ", ").replace("=", " ")) or "the host"


def _write(imported: Imported, directory: str) -> None:
    """Raises: NetunedError for what is there already; then nothing is written."""
    texts: Sequence[str] = tuple(_texts(imported))
    words = (card.rpartition("=")[2] or "host" for card in imported.profiles)
    names = [re.sub(r"[^A-Za-z0-9_.-]+", "-", word).strip("-.") or "cards" for word in words]
    paths = [Path(directory, f"{name}.yaml") for name in names]
    if len(set(paths)) < len(paths) or any(os.path.lexists(path) for path in paths):
        there = next((path for path in paths if os.path.lexists(path)), paths[0])
        raise NetunedError(f"{there}: is there already, or two profiles would be; use another DIR")
    try:
        for path, text in zip(paths, texts, strict=True):
            opener = _private if HASH_KEY.search(text) else None
            with open(path, "x", encoding="utf-8", opener=opener) as file:
                file.write(f"{text}\n")
            print(f"Wrote {escape(str(path))}.")
    except OSError as error:
        raise NetunedError(f"{directory}: {error.strerror}") from None


def _private(path: str, flags: int) -> int:
    """For its owner alone."""
    return os.open(path, flags, 0o600)


def _as_json(imported: Imported, left: Sequence[tuple[str, Found]]) -> object:
    return {
        "profiles": list(imported.profiles.values()),
        "left_out": [{"place": place, "line": one.text, "reason": one.why} for place, one in left],
    }
