"""The daemon's own settings: what is taken, and where a mistake is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netuned.profiles.settings import Settings, load_settings


def load(tmp_path: Path, text: str, before: Settings | None = None) -> Settings:
    path = tmp_path / "netuned.yaml"
    path.write_text(text)
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    return load_settings(str(path), before or Settings(), os.getuid())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("# nothing\n", 0),
        ("confirm_timeout: off", 0),
        ("confirm_timeout: 60s", 60),
        ("confirm_timeout: 2min", 120),
        ("confirm_timeout: 1h", 3600),
        ("confirm_timeout: 1s", 1),
    ],
)
def test_what_is_taken(tmp_path: Path, text: str, seconds: int) -> None:
    assert load(tmp_path, text) == Settings(seconds)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("confirm_timeout: 60", "1:18: confirm_timeout", "60s, or off"),
        ("confirm_timeout: 0s", "1:18: confirm_timeout", "from 1s to 1h"),
        ("confirm_timeout: 2h", "1:18: confirm_timeout", "from 1s to 1h"),
        ("confirm_timeout: -5s", "1:18: confirm_timeout", "from 1s"),
        ("confirm_timeout: false", "1:18: confirm_timeout", "`false`"),
        ("confirm_timeout:", "1:17: confirm_timeout", "nothing"),
        ("# a\nconfirm_timout: 60s", "2:1: confirm_timout", "did you mean `confirm_timeout`?"),
        ("confirm_timeout: 1s\nconfirm_timeout: 2s", "2:1:", "already on line 1"),
        ("- 1", "1:1:", "mapping"),
        ("{", "", "netuned.yaml"),
    ],
)
def test_a_mistake_has_its_place_and_changes_nothing(
    tmp_path: Path, text: str, place: str, words: str
) -> None:
    found = load(tmp_path, text, Settings(30))
    assert found.confirm_timeout_s == 30
    (error,) = found.errors
    assert f"netuned.yaml:{place}" in str(error) or not place
    assert words in str(error)


def test_no_file_is_as_by_default(tmp_path: Path) -> None:
    assert load_settings(str(tmp_path / "no" / "netuned.yaml"), Settings(30)) == Settings()


@pytest.mark.parametrize("writable", ["netuned.yaml", "."])
def test_what_others_can_write_is_not_used(tmp_path: Path, writable: str) -> None:
    load(tmp_path, "confirm_timeout: 60s")
    (tmp_path / writable).chmod(0o777)
    found = load_settings(str(tmp_path / "netuned.yaml"), Settings(30), os.getuid())
    assert found.confirm_timeout_s == 30
    assert "writable" in str(found.errors[0])
