"""``carry.py ENVIRONMENT LICENCES WHEELS``: for packages, a virtual environment that holds wheels.

It has no pip. Its interpreter is the system's, which sees the distribution's own Python packages
besides. The wheels are those of netuned and of what is carried along, for one version of Python or
for several: extension modules have the version in their names, so one directory serves all.
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

ENVIRONMENT = "/usr/lib/netuned/venv"
"""Where the environment will be, wherever it is made."""
PROGRAM = """\
#!{environment}/bin/python
import sys

from {module} import {function}

sys.exit({function}())
"""
LEFT_OUT = re.compile(
    # its data, which `make install-beside` puts elsewhere; what pip notes; what only compilers and
    # type checkers read
    r"[^/]*\.data/"
    r"|[^/]*\.dist-info/(?:RECORD|WHEEL|top_level\.txt)$"
    r"|.*\.(?:pyi|pxd)$|.*/$"
)


def carry(environment: Path, licences: Path, wheels: list[Path]) -> None:
    """Make the environment. Raises: SystemExit where two wheels have one file in two versions."""
    modules = environment / "lib/python3/site-packages"
    pythons = set()
    for wheel in wheels:
        tag = wheel.stem.split("-")[2]
        pythons |= {f"3.{tag.removeprefix('cp3')}"} if re.fullmatch(r"cp3\d+", tag) else set()
        for name, content in _content(wheel):
            # what a compiled module is linked with, which is otherwise for each Python
            name = name.replace(".dist-info/sboms/", f".dist-info/sboms/{tag}-")
            project, _, licence = name.partition(".dist-info/licenses/")
            path = licences / project / licence if licence else modules / name
            if path.exists() and path.read_bytes() != content:
                sys.exit(f"{wheel.name}: {name} is otherwise in another wheel")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for python in pythons:
        (environment / f"lib/python{python}").symlink_to("python3")
    programs = environment / "bin"
    programs.mkdir()
    (programs / "python").symlink_to("/usr/bin/python3")
    (environment / "pyvenv.cfg").write_text(
        "home = /usr/bin\ninclude-system-site-packages = true\npackaged = true\n"
    )
    (ours,) = modules.glob("netuned-*.dist-info/entry_points.txt")
    entries = configparser.ConfigParser()
    entries.read(ours)
    for name, entry in entries["console_scripts"].items():
        module, _, function = entry.partition(":")
        text = PROGRAM.format(environment=ENVIRONMENT, module=module, function=function)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)


def _content(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not LEFT_OUT.match(name):
                yield name, archive.read(name)


if __name__ == "__main__":
    carry(Path(sys.argv[1]), Path(sys.argv[2]), sorted(Path(sys.argv[3]).glob("*.whl")))
