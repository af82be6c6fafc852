"""What the documents show is true: their profiles load, their mistakes are reported as printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.profiles import expression
from netuned.profiles.loader import check
from netuned.profiles.match import Match
from netuned.profiles.profile import Profile
from netuned.profiles.qdiscs import QDISCS
from netuned.profiles.rss import RssSpec
from netuned.profiles.specs import (
    ChannelsSpec,
    HostSpec,
    IrqSpec,
    PolicySpec,
    RfsSpec,
    RpsSpec,
    XpsSpec,
)
from netuned.profiles.syntax import FUNCTIONS, INDEXED, WORDS
from tests.unit.machines import topology

ROOT = Path(__file__).parents[2]
PROFILES = str(ROOT / "profiles")
DOCUMENTS = ("README.md", "docs/profiles.md")

_BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPRESSION_ROW = re.compile(r"^\| `(.+)` \| ([0-9,-]+) \|$", re.MULTILINE)


def blocks(document: str) -> Iterator[tuple[str, str, str]]:
    """Each block of code: its language, the rest of that line, its text."""
    for match in _BLOCK.finditer((ROOT / document).read_text()):
        yield match[1], match[2].strip(), match[3]


GOOD = [
    pytest.param(text, id=f"{document}-{number}")
    for document in DOCUMENTS
    for number, (language, rest, text) in enumerate(blocks(document))
    if language == "yaml" and not rest
]


def mistakes(text: str, directory: Path) -> str:
    path = directory / "edge.yaml"
    path.write_text(text)
    return "".join(f"{error}\n" for error in check(str(path), (PROFILES,))).replace(
        f"{directory}/", ""
    )


@pytest.mark.parametrize("text", GOOD)
def test_profiles_in_the_documents_are_good(text: str, tmp_path: Path) -> None:
    assert mistakes(text, tmp_path) == ""


def test_mistakes_are_reported_as_printed(tmp_path: Path) -> None:
    found = list(blocks("docs/profiles.md"))
    wrong = [number for number, (_, rest, _) in enumerate(found) if rest == "wrong"]
    assert wrong
    for number in wrong:
        assert mistakes(found[number][2], tmp_path) == found[number + 1][2]


def test_expressions_mean_what_the_table_says() -> None:
    machine = topology(nodes=2, cores=4, threads=2, isolated="2-3")
    rows = _EXPRESSION_ROW.findall((ROOT / "docs/profiles.md").read_text())
    assert len(rows) > 10
    for text, cpus in rows:
        parsed = expression.parse(text.replace("\\|", "|"))
        assert str(expression.evaluate(parsed, machine, machine.nodes[0])) == cpus, text


def test_every_key_and_word_is_described() -> None:
    text = (ROOT / "docs/profiles.md").read_text()
    models = (
        Profile,
        Match,
        ChannelsSpec,
        RssSpec,
        IrqSpec,
        RpsSpec,
        RfsSpec,
        XpsSpec,
        HostSpec,
        PolicySpec,
    )
    names = {key for model in (*models, *QDISCS.values()) for key in model.by_key()}
    shown = set(re.findall(r"`(?:kind: )?([a-z0-9_-]+)[`:(]", text))
    assert (names | set(QDISCS) | {*WORDS, *INDEXED, *FUNCTIONS}) - {"kind"} <= shown


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "docs").glob("*.md"):
        text = document.read_text()
        headings = {
            re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("#")
        }
        for target in re.findall(r"\]\(([^)#:]*)(?:#[^)]*)?\)", text):
            assert not target or (document.parent / target).exists(), (document.name, target)
        for anchor in re.findall(r"\]\(#([^)]*)\)", text):
            assert anchor in headings, (document.name, anchor)
