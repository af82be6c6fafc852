"""``python -m pages DIRECTORY``: write all of them below it, as below ``/usr/share``."""

from __future__ import annotations

import sys
from pathlib import Path

from pages import completion, manual

ROOT = Path(__file__).resolve().parents[1]


def write(share: Path) -> list[Path]:
    """Write all files. Returns where they are."""
    made = {**manual.pages(ROOT), **completion.scripts()}
    for name, text in made.items():
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        (share / name).write_text(text, "utf-8")
    return [share / name for name in made]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
