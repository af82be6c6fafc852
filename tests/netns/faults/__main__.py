"""Run all faults and kills; with words, as ``runs.run()`` calls it, one part of them."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.netns.faults.runs import inject, kill, run


def main() -> None:
    """Inside a namespace: do one part and print it; else all."""
    if len(sys.argv) < 2:
        figures = run()
        print(figures, *figures.failed, sep="\n")
        sys.exit(bool(figures.failed))
    work = {"inject": inject, "kill": kill}[sys.argv[1]]
    with tempfile.TemporaryDirectory(prefix="netuned-faults-") as directory:
        Path(directory).chmod(0o755)
        print(json.dumps(asdict(work(Path(directory), own_qdiscs=bool(sys.argv[2])))))


if __name__ == "__main__":
    main()
