"""``netunedctl diff``: two profiles with all that they extend, key by key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netuned.cli.main import run

BASE = "rps: {cpus: auto}\nqdisc: {kind: fq, limit: 100}\n"
OTHER = 'extends: [base]\nmatch: {name: "en*"}\nrps: {cpus: none}\nqdisc: {kind: fq, limit: 100}\n'


@pytest.fixture
def profiles(tmp_path: Path) -> str:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "other.yaml").write_text(OTHER)
    return str(tmp_path)


def test_what_differs_is_told_with_its_place(
    profiles: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["diff", "base", "other", "--profiles", profiles]
    assert run([*words, "--json"]) == 0
    found = {row.pop("key"): row for row in json.loads(capsys.readouterr().out)["differences"]}
    assert found == {
        "rps.cpus": {"one": "auto", "other": "none", "where": "other.yaml:3"},
        "match[0].name": {"one": "", "other": "en*", "where": "other.yaml:2"},
    }
    assert run([*words, "--exit-code"]) == 3
    assert "rps.cpus" in capsys.readouterr().out


def test_the_same_is_said_to_be(profiles: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also a file that is nowhere in force."""
    words = ["diff", f"{profiles}/base.yaml", "base", "--profiles", profiles, "--exit-code"]
    assert run(words) == 0
    assert capsys.readouterr().out == "They say the same.\n"


def test_one_that_is_not_there(profiles: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "bse", "other", "--profiles", profiles]) == 1
    assert "did you mean `base`? there are: base, other" in capsys.readouterr().err
