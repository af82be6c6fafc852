"""The wheel carries profiles and units, and both programs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.lint.test_linters import ROOT


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    words = ("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source))
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name.partition(".data/data/")[2] or name for name in names}
    for profile in (ROOT / "profiles").glob("*.yaml"):
        assert f"share/netuned/profiles/{profile.name}" in inside
    for unit in ("netuned.service", "netuned.apparmor", "org.netuned1.conf", "irqbalance-policy"):
        assert f"share/netuned/units/{unit}" in inside
    for template in (ROOT / "netuned/report/templates").iterdir():
        assert f"netuned/report/templates/{template.name}" in inside
    assert "netuned/daemon.py" in inside
    assert "netuned/cli/main.py" in inside
    assert not any(name.startswith(("tests/", "bench/")) for name in inside)
