"""docs/safety.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_names_a_test_that_exists() -> None:
    promises = 0
    for line in (ROOT / "docs" / "safety.md").read_text().splitlines():
        if not line.startswith("| ") or line.startswith("| promise"):
            continue
        promises += 1
        file = ""
        named = re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", line)
        assert named, line
        for path, name in named:
            file = path or file
            assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"
    assert promises > 10
