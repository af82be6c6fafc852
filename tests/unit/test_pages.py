"""The manual pages say what there is, and mandoc has no word against them; completion too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from netuned.cli.commands import COMMANDS
from netuned.profiles.profile import Profile
from pages import completion, manual, roff
from tests.unit.test_units import skip

ROOT = Path(__file__).parents[2]
PAGES = manual.pages(ROOT)
SCRIPTS = completion.scripts()

NASTY = (
    """\
# Title

.TH evil 8 and 'quoted \\fBtext\\fR and a ~tilde^

'starts with a quote

## A section - with `code-words`

| | of what |
|---|---|
| `.dot` | a cell\\| with `a\\b`, """
    + "é" * 90
    + """ |

```text
.verbatim """
    + "long " * 40
    + """
\\fBnot bold\\fR
```

- an item
### A heading that is so long that no line of eighty columns holds it, however it is cut there

And text.
"""
)


def lint(page: Path) -> str:
    """What mandoc has to say of a page, down to its style."""
    words = ["mandoc", "-T", "lint", str(page)]
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout


def rendered(page: Path) -> str:
    words = ["mandoc", "-T", "utf8", "-O", "width=200", str(page)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return re.sub(".\b", "", done.stdout)


@pytest.fixture(autouse=True)
def _mandoc() -> None:
    if shutil.which("mandoc") is None:
        skip("needs mandoc: apt install mandoc")


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_no_word_against_a_page(name: str, tmp_path: Path) -> None:
    page = tmp_path / Path(name).name
    page.write_text(PAGES[name])
    assert lint(page) == ""


def test_whatever_a_document_says_is_text(tmp_path: Path) -> None:
    page = tmp_path / "evil.8"
    lines = [".TH EVIL 8 2026-11-27", ".SH NAME", "evil \\- a page", *roff.sections(NASTY, "NOTES")]
    page.write_text("\n".join(lines) + "\n")
    assert lint(page) == ""
    shown = rendered(page)
    for said in (
        ".TH evil 8 and 'quoted \\fBtext\\fR and a ~tilde^",
        "'starts with a quote",
        "A SECTION - WITH CODE-WORDS",
        "a cell| with a\\b, " + "é" * 90,
        ".verbatim " + ("long " * 40).rstrip(),
        "\\fBnot bold\\fR",
    ):
        assert said in shown, shown


def test_the_pages_have_every_command_and_every_key(tmp_path: Path) -> None:
    shown = {}
    for name, text in PAGES.items():
        page = tmp_path / Path(name).name
        page.write_text(text)
        shown[page.name] = rendered(page)
    for command in COMMANDS:
        assert re.search(rf"^ *usage: netunedctl {command}\b", shown["netunedctl.8"], re.M), command
    for key in Profile.by_key():
        assert re.search(rf"^   .*\b{key}\b", shown["netuned.profile.5"], re.M), key
    for name, section in (("netuned", 8), ("netuned.profile", 5)):
        assert f"{name}({section})" in shown["netunedctl.8"]


def test_completion_has_every_command_in_each_shell() -> None:
    assert [Path(place).name for place in SCRIPTS] == [
        *("netunedctl", "_netunedctl", "netunedctl.fish")
    ]
    for place, text in SCRIPTS.items():
        for command in COMMANDS:
            assert re.search(rf"\b{command}\b", text), (place, command)


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=os.path.basename)
def test_editors_find_the_schema_of_a_shipped_profile(path: Path) -> None:
    header, _, rest = path.read_text().partition("\n")
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", header)
    assert schema
    assert (
        schema[1].replace("/usr/lib/netuned", "$(LIB)") in (ROOT / "units/install.mk").read_text()
    )
    assert rest.startswith(f"# {path.stem}: ")
