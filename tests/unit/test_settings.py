"""The daemon's own settings: what is taken, and where a mistake is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netuned.profiles import settings
from netuned.profiles.settings import Settings, is_settings, load_settings


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


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the search path is."""
    places = [tmp_path / name for name in ("etc", "run", "lib")]
    for place in places:
        (place / "netuned.yaml.d").mkdir(parents=True, mode=0o755)
    monkeypatch.setattr(settings, "DIRECTORIES", tuple(map(str, places)))
    monkeypatch.setattr(settings, "DEFAULT_PATH", str(places[0] / "netuned.yaml"))
    return tmp_path


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def found(root: Path, before: Settings | None = None) -> Settings:
    return load_settings(str(root / "etc/netuned.yaml"), before or Settings(), os.getuid())


def test_of_drop_ins_the_last_by_name_counts_wherever_it_is(root: Path) -> None:
    put(root / "lib/netuned.yaml", "confirm_timeout: 1s\n")
    assert found(root) == Settings(1)
    put(root / "etc/netuned.yaml", "# nothing\n")
    assert found(root) == Settings(), "it replaces the one in /usr/lib"
    put(root / "lib/netuned.yaml.d/20-fleet.yaml", "confirm_timeout: 20s\n")
    put(root / "etc/netuned.yaml.d/10-host.conf", "confirm_timeout: 10s\n")
    assert found(root) == Settings(20)
    put(root / "run/netuned.yaml.d/30-cloud.yml", "confirm_timeout: 30s\n")
    put(root / "run/netuned.yaml.d/40-cloud.yml", "# says nothing of it\n")
    put(root / "run/netuned.yaml.d/notes.txt", "{")
    put(root / "run/netuned.yaml.d/.99.yaml", "{")
    assert found(root) == Settings(30)
    put(root / "etc/netuned.yaml.d/30-cloud.yml", "confirm_timeout: 31s\n")
    assert found(root) == Settings(31), "of one name that in /etc"
    (root / "etc/netuned.yaml.d/30-cloud.yml").unlink()
    (root / "etc/netuned.yaml.d/30-cloud.yml").symlink_to("/dev/null")
    assert found(root) == Settings(20)


def test_a_mistake_in_a_drop_in_has_its_place_and_leaves_all_as_it_was(root: Path) -> None:
    put(root / "etc/netuned.yaml", "confirm_timeout: 60s\n")
    put(root / "run/netuned.yaml.d/50.conf", "# of the cloud\nconfirm_timeout: 5\n")
    seen = found(root, Settings(7))
    assert seen.confirm_timeout_s == 7
    (error,) = seen.errors
    assert str(error).startswith(f"{root}/run/netuned.yaml.d/50.conf:2:18: confirm_timeout: ")
    (root / "run/netuned.yaml.d").chmod(0o777)
    assert "is writable by its group and everyone" in str(found(root).errors[0])


def test_a_link_that_leads_nowhere_is_not_taken_for_no_file(root: Path) -> None:
    put(root / "lib/netuned.yaml", "confirm_timeout: 1s\n")
    (root / "etc/netuned.yaml").symlink_to(root / "gone")
    seen = found(root, Settings(7))
    assert seen.confirm_timeout_s == 7
    assert str(root / "etc/netuned.yaml") in str(seen.errors[0])


def test_settings_elsewhere_have_their_drop_ins_beside_them(root: Path) -> None:
    path = root / "other.yaml"
    (root / "other.yaml.d").mkdir()
    put(root / "other.yaml.d/a.yaml", "confirm_timeout: 3s\n")
    put(root / "etc/netuned.yaml.d/b.yaml", "confirm_timeout: 4s\n")
    assert load_settings(str(path), Settings(), os.getuid()) == Settings(3)


@pytest.mark.parametrize(
    ("path", "one"),
    [
        ("/etc/netuned/netuned.yaml", True),
        ("fleet/netuned.yaml.d/50-site.conf", True),
        ("fleet/netuned.yaml.d/readme.txt", False),
        ("profiles.d/netuned.yaml", False),
        ("edge.yaml", False),
    ],
)
def test_a_place_tells_settings_from_profiles(path: str, one: bool) -> None:
    assert is_settings(path) == one
