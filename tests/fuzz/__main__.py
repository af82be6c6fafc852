"""Give every target odd input for so many seconds, led by coverage (atheris, libFuzzer).

Prints how much was tried; exit status 1 if anything came through. What came through is kept in
``build/fuzz/crash-…``: make it a test, then mend it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.table import Row, render

KEPT = Path("build/fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", help="names of targets; all unless some are named")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.one:
        return _fuzz(options.one, rest)
    found = run(options.seconds, options.targets)
    print(render([row for name, tried in found.items() for row in _rows(name, tried)]))
    return 1 if any(tried.tracebacks for tried in found.values()) else 0


@dataclass(frozen=True, slots=True)
class Tried:
    """What one target was given, and how often a traceback came through."""

    inputs: int
    tracebacks: int


def run(seconds: int, names: Sequence[str] = ()) -> dict[str, Tried]:
    """Fuzz each target (of ``names``, if there are any) for so many seconds."""
    from tests.fuzz.targets import TARGETS

    KEPT.mkdir(parents=True, exist_ok=True)
    return {name: _run(name, seconds) for name in names or [t.name for t in TARGETS]}


def _rows(name: str, tried: Tried) -> list[Row]:
    return [
        Row(f"{name}: inputs tried", tried.inputs, ""),
        Row(f"{name}: tracebacks", tried.tracebacks, "", 0),
    ]


def _run(name: str, seconds: int) -> Tried:
    """One target in a process of its own: libFuzzer ends its process at the first crash."""
    kept = f"-artifact_prefix={KEPT}/{name.replace(' ', '-')}-"
    words = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=5", "-rss_limit_mb=512", kept]
    words += ["-print_final_stats=1", "-seed=1"]
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    tried = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    failed = int(done.returncode != 0)
    if failed:
        print(done.stderr[-4000:], file=sys.stderr)
    return Tried(int(tried[1]) if tried else 0, failed)


def _fuzz(name: str, words: list[str]) -> int:
    import atheris  # type: ignore[import-untyped]  # it has no types

    with atheris.instrument_imports(include=["netuned", "yaml", "pyroute2"]):
        from tests.fuzz.targets import TARGETS

    (target,) = (target for target in TARGETS if target.name == name)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        dictionary = Path(corpus) / "words"
        quoted = ("".join(f"\\x{byte:02x}" for byte in word[:64]) for word in target.words)
        dictionary.write_text("".join(f'"{word}"\n' for word in quoted if word))
        atheris.Setup([name, *words, f"-dict={dictionary}", corpus], target.run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
