"""Run all faults and kills; with words, as ``runs.run()`` calls it, one part of them."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.netns.faults.card import Card, Tap
from tests.netns.faults.runs import inject, kill, meddle, run


def main() -> None:
    """Inside a namespace: do one part and print it; else all."""
    if len(sys.argv) < 2:
        figures = run()
        print(figures, *figures.failed, sep="\n")
        sys.exit(bool(figures.failed))
    work = {"inject": inject, "kill": kill, "meddle": meddle}[sys.argv[1]]
    with tempfile.TemporaryDirectory(prefix="netuned-faults-") as directory:
        Path(directory).chmod(0o755)
        card = Tap if sys.argv[2] == "tap" else Card
        figures = work(Path(directory), own_qdiscs=sys.argv[2] == "own", card=card)
        print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
