"""Run all faults and kills; with words, as ``runs.run()`` calls it, one part of them."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.netns.faults.card import Card, Ifb, Polled, Shaped, Tap
from tests.netns.faults.names import change_and_kill, change_names
from tests.netns.faults.runs import inject, kill, meddle, run

CALLS = {"inject": inject, "kill": kill, "meddle": meddle}
NAMES = {"names": change_names, "names-kill": change_and_kill}


def main() -> None:
    """Inside a namespace: do one part and print it; else all."""
    if len(sys.argv) < 2:
        figures = run()
        print(figures, *figures.failed, sep="\n")
        sys.exit(bool(figures.failed))
    what, of = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="netuned-faults-") as directory:
        Path(directory).chmod(0o755)
        if what in NAMES:
            figures = NAMES[what](Path(directory), of)
        else:
            card = {"tap": Tap, "ifb": Ifb, "shaped": Shaped, "polled": Polled}.get(of, Card)
            figures = CALLS[what](Path(directory), own_qdiscs=of == "own", card=card)
        print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
