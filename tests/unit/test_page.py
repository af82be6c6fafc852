"""The page of a host: well formed and whole, loads nothing, and no name in it is more than text."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from netuned.cli import main
from netuned.cli.doctor import NO_SAMPLES
from netuned.cpuset import CpuSet
from netuned.fleet.planned import Question
from netuned.report import drawing, hosts
from netuned.report.document import TEMPLATES
from netuned.report.page import Page, html
from netuned.report.seen import CardSeen
from tests.unit import pages
from tests.unit.pages import Checked


@pytest.fixture(scope="module")
def page() -> Page:
    return pages.page()


@pytest.fixture(scope="module")
def text(page: Page) -> str:
    return html(page)


@pytest.fixture(scope="module")
def found(text: str) -> Checked:
    return Checked(text)


@pytest.fixture(scope="module", params=["host", "hosts"])
def document(request: pytest.FixtureRequest, text: str) -> str:
    """Each kind of document that there is."""
    return text if request.param == "host" else pages.hosts_page(*pages.fleet())


def test_a_page_is_well_formed_and_needs_nothing_else(document: str) -> None:
    text, found = document, Checked(document)
    assert text.startswith("<!doctype html>")
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in found.tags:
        assert not {"src", "srcset", "style", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "aria-labelledby"):
            assert attributes.get(name, f"#{ids[0]}").removeprefix("#") in ids
    assert not found.of("link")
    assert not found.of("iframe")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", text)
    assert set(re.findall(r"https?://[^\s\"]*", text)) <= {"http://www.w3.org/2000/svg"}


def test_a_page_lets_no_script_run_but_its_own(document: str) -> None:
    """By a policy in the page, which also forbids it to load anything."""
    text, found = document, Checked(document)
    (policy,) = (a["content"] for a in found.of("meta") if "http-equiv" in a)
    said = dict(part.split(" ", 1) for part in policy.split("; "))
    assert said["default-src"] == "'none'"
    assert ("script-src" in said) == ("<script" in text)
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        if kind not in said:
            continue
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert said[kind] == f"'sha256-{digest}'"


def test_who_does_not_see_it_is_told(document: str) -> None:
    found = Checked(document)
    labels = [a["aria-label"] for _, a in found.tags if a.get("role") == "region"]
    assert len(labels) == len(set(labels))
    assert found.of("html") == [{"lang": "en"}]
    for svg in found.of("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"], bool(svg["aria-label"])) == (
            "img",
            True,
        )
    assert all(th.get("scope") in ("col", "row") for th in found.of("th"))
    assert len(found.of("caption")) == len(found.of("table"))
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def luminance(colour: str) -> float:
    """As WCAG 2 has it, of ``#1d4ed8`` or ``#fff``."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        (s + 0.055) ** 2.4 / 1.055**2.4 if s > 0.04045 else s / 12.92 for s in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_in_drawings_stands_out_from_what_is_below_it() -> None:
    """By 4.5 to 1, which a browser's checker cannot tell of SVG."""
    style = (TEMPLATES / "page.css").read_text()
    fills = dict(re.findall(r"\.(\w+)(?: rect)? \{ fill: (#\w+); \}", style))
    fills["unmeasured"] = "#fff"
    (dark,) = re.findall(r"svg text \{.*fill: (#\w+);", style)
    below = {
        "#fff": [*(f"c{n}" for n in range(drawing.COLOURS)), "part0", "part1"],
        dark: [*(f"h{n}" for n in range(len(drawing.LEVELS) + 1)), "unmeasured"],
    }
    for text, kinds in below.items():
        for kind in kinds:
            lighter, darker = sorted((luminance(text), luminance(fills[kind])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, kind


def test_every_cpu_is_drawn_once_in_its_core_domain_and_node(page: Page) -> None:
    topology = page.seen.topology
    drawn = []
    for node, (number, cpus) in zip(
        drawing.machine(page.seen), topology.nodes.items(), strict=True
    ):
        assert node.name == f"NUMA node {number}: CPUs {cpus}"
        for name, svg in node.domains:
            tree = ElementTree.fromstring(svg)
            here = [int(g.get("id", "cpu")[3:]) for g in tree.findall("g")]
            assert name == f"L3 domain {CpuSet.of(here)}"
            assert CpuSet.of(here) in topology.l3_domains
            assert not CpuSet.of(here) - cpus
            assert len(tree.findall("rect")) == len({topology.core_of(cpu) for cpu in here})
            drawn += here
    assert sorted(drawn) == list(topology.online)


@pytest.mark.parametrize(
    "described",
    [
        "cores: 1",
        "cores: 3\nnodes_without_cpus: 2\nnodes: 2",
        "cores: 4\nthreads: 2\nnumbering: adjacent\noffline: 1,5",
        "cores: 2\nthreads: 2\nefficiency: 4",
        "cores: 70\nthreads: 4\nnohz_full: 1-279",
    ],
)
def test_any_machine_is_drawn_whole(described: str) -> None:
    made = pages.page(f"{described}\ncards: [{{name: eth0, driver: ice, queues: 1}}]\n")
    shared = replace(made.seen.topology, l3_domains=(made.seen.topology.online,))
    for seen in (made.seen, replace(made.seen, topology=shared)):
        found = Checked(html(replace(made, seen=seen)))
        drawn = sorted(int(group["id"][3:]) for group in found.with_class("cpu"))
        assert drawn == list(seen.topology.online)


def cpu(page: Page, number: int) -> ElementTree.Element:
    """What is drawn of a CPU."""
    svgs = [svg for node in drawing.machine(page.seen) for _, svg in node.domains]
    found = (ElementTree.fromstring(svg).find(f"./g[@id='cpu{number}']") for svg in svgs)
    return next(group for group in found if group is not None)


def labels(group: ElementTree.Element, kind: str) -> list[str]:
    chips = [g for g in group.findall("g") if kind in g.get("class", "").split()]
    return [chip.findtext("text", "") for chip in chips]


def test_each_queue_is_on_its_cpu_beside_where_it_is_wanted(page: Page) -> None:
    eth0 = page.seen.cards[0]
    seat = next(seat for seat in eth0.seats if seat.misplaced and seat.wanted)
    assert seat.wanted is not None
    label = f"A{seat.queue}"
    assert label in labels(cpu(page, seat.at), "misplaced")
    assert label in labels(cpu(page, seat.wanted.first), "planned")
    right = next(seat for seat in eth0.seats if seat.wanted == seat.cpus)
    assert f"A{right.queue}" in labels(cpu(page, right.at), "chip")
    assert f"A{right.queue}" not in labels(cpu(page, right.at), "misplaced")


def test_isolated_and_application_cpus_are_marked(page: Page) -> None:
    assert page.seen.application == {"edge: - app": CpuSet.parse_list("6-7,32-35")}
    for number, marks in ((4, {"isolated"}), (6, {"application"}), (8, set())):
        found = {p.get("class") for p in cpu(page, number).findall("polygon")}
        assert found == marks
    assert "isolated" in cpu(page, 4).findtext("title", "")
    assert "kept for the application" in cpu(page, 33).findtext("title", "")


def test_heat_is_what_was_measured_and_else_that_nothing_was(page: Page, text: str) -> None:
    title = cpu(page, 0).findtext("title", "")
    assert "busy 90%; interrupts and softirqs 60%" in title
    heats = {n: next(r.get("class") for r in cpu(page, n).findall("rect")) for n in (0, 32)}
    assert heats == {0: "h5", 32: "h0"}
    assert "Measured over 10.0 s." in text
    unmeasured = pages.page(measured=False)
    assert cpu(unmeasured, 0).find("rect").get("class") == "unmeasured"  # type: ignore[union-attr]  # there is one
    found = Checked(html(unmeasured))
    assert "Load was not measured: nobody asked for it." in found.text
    assert not found.with_class("h5")
    assert found.text.count("RSS table: ") == 3
    assert "Received packets" not in found.text


def test_the_rss_table_is_a_bar_with_each_queues_share(page: Page) -> None:
    card = replace(page.seen.cards[0], table=(0,) * 96 + (1,) * 32)
    svg = ElementTree.fromstring(drawing.rss(card))
    widths = [float(rect.get("width", "0")) for rect in svg.iter("rect")]
    assert widths == [drawing.BAR_WIDE * 0.75, drawing.BAR_WIDE * 0.25]
    titles = [title.text for title in svg.iter("title")]
    assert titles == ["queue 0: 96 entries, 75.0%", "queue 1: 32 entries, 25.0%"]
    assert "most has queue 0, 75.0%" in svg.get("aria-label", "")


def test_rps_and_xps_lead_from_a_queue(page: Page, found: Checked) -> None:
    *_, eth2 = page.seen.cards
    seat = eth2.seats[1]
    rows = [a for a in found.of("tr") if "data-rps" in a]
    assert {"data-queue": "4-rxtx-1", "data-rps": "2-5", "data-xps": "10-13"} in rows
    chip = next(g for g in cpu(page, seat.at).findall("g") if g.get("data-queue") == "4-rxtx-1")
    assert (chip.get("data-rps"), chip.get("data-xps")) == ("2-5", "10-13")


def test_wanted_beside_found_findings_plan_and_last_changes(page: Page, found: Checked) -> None:
    assert page.findings is not None
    (finding,) = page.findings
    change = page.plan.changes[0]
    for said in (
        finding.seen,
        finding.why,
        finding.sure,
        *finding.profile,
        finding.command,
        "1,204,331",
        "CPUs found",
        "CPUs wanted",
        change.why,
        str(change.before),
        "The last change of each setting",
        "The last repairs on record",
        *page.repairs[0],
        "drift",
    ):
        assert said in found.text
    none = Checked(html(replace(page, findings=()))).text
    assert "Nothing was found that costs packets, time or latency." in none
    assert "Findings" not in Checked(html(replace(page, findings=None))).text


def test_no_name_or_text_from_outside_is_more_than_text(page: Page, found: Checked) -> None:
    before, text = found, html(pages.hostile(page))
    found = Checked(text)
    assert pages.HOSTILE[:30] in found.text
    forms, known = ({(tag, *attributes) for tag, attributes in p.tags} for p in (found, before))
    assert forms - known <= {("p", "class")}  # what is not measured, and errors
    assert found.scripts == before.scripts
    assert len(found.of("script")) == 1
    assert "&lt;{{ 7 * 7 }}" in found.text
    assert not {"\x1b", "\u202e", "\udcff"} & set(text)
    assert r"\x1b]0;x\u202e\xff" in found.text


def test_1024_cpus_are_drawn_in_under_two_seconds() -> None:
    """CPU time, whatever else the machine does; of 4 cards with 64 queues each."""
    large = pages.page(pages.LARGE)
    before = time.process_time()
    text = html(large)
    assert time.process_time() - before < 2
    assert text.count('class="cpu"') == 1024
    assert len(text) < 1 << 20


def test_queues_without_interrupts_and_cards_without_queues() -> None:
    found = pages.page("cores: 2\ncards: [{name: v0, driver: veth, queues: 2}]\n")
    (card,) = found.seen.cards or (None,)
    assert card is None
    assert found.seen.left_out == 1
    assert "Left out: 1 virtual card without a profile." in Checked(html(found)).text


def test_letters_go_on_after_z() -> None:
    many = "cores: 1\ncards: [{name: eth0, driver: e1000e, count: 28}]\n"
    cards: tuple[CardSeen, ...] = pages.page(many).seen.cards
    assert [card.letter for card in cards[24:]] == ["Y", "Z", "AA", "AB"]


def test_the_command_writes_a_file_and_replaces_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "999")
    (tmp_path / "machine.yaml").write_text(pages.MACHINE)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/edge.yaml").write_text(pages.PROFILE)
    out = tmp_path / "host.html"
    words = [
        *("report", "--snapshot", str(tmp_path / "machine.yaml")),
        *("--profiles", str(tmp_path / "profiles"), "--out", str(out)),
    ]
    assert main.run(words) == 0
    assert capsys.readouterr().out.split() == ["Wrote", f"{out}."]
    found = Checked(out.read_text())
    assert f"Load was not measured: {NO_SAMPLES}." in found.text
    assert "No repair on record: of a snapshot there is no journal." in found.text
    assert "Findings (" in found.text
    assert len(found.with_class("cpu")) == 64
    assert out.stat().st_mode & 0o777 == 0o600
    out.write_text("mine")
    assert main.run(words) == 1
    assert "is there already; --force replaces it" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main.run([*words, "--force"]) == 0
    assert out.read_text().startswith("<!doctype html>")
    capsys.readouterr()
    assert main.run([*words[:-1], str(tmp_path / "none/page.html")]) == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    assert main.run([*words[:-1], "-"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert main.run([*words, "--for", "30s"]) == 1
    assert "a snapshot is of one that is not here" in capsys.readouterr().err


@pytest.mark.parametrize("time", ["0s", "2h", "soon", ""])
def test_a_time_is_as_people_write_it(time: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["report", "--for", time]) == 2
    assert "is not a time like" in capsys.readouterr().err


WITHOUT = """
import contextlib, io, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jinja2", "markupsafe"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from netuned.cli import main
from netuned.cli.doctor import NO_SAMPLES
with contextlib.redirect_stdout(io.StringIO()):
    assert main.run(["--help"]) == 0
sys.exit(main.run("report --for off --out page.html".split()))
"""


def test_without_jinja_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    """And no other command imports it, for the list of all of them neither."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("netunedctl: pages need Jinja2")
    assert "apt install python3-jinja2" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_hosts_are_shown_once_in_their_group_the_worst_first() -> None:
    groups, unread = pages.fleet()
    found = Checked(pages.hosts_page(groups, unread))
    assert [h["id"] for h in found.of("section")] == ["kind0", "kind1", "kind5", "unread"]
    text = " ".join(found.text.split())
    assert "16 hosts: 13 disruptive, 1 problems, 1 no profile, 1 cannot be read." in text
    assert "1. 12 hosts web[01-12] So it is of web01. The others come to the same" in text
    for host in ("core1", "old1", "old2"):
        assert text.count(host) == 1, host
    assert "Planned with new, against old." in text
    assert "Cannot be had: eth0 offloads" in text
    assert "gone.yaml: cannot be read: No such file or directory" in text


def test_no_name_of_a_host_or_setting_is_more_than_text() -> None:
    groups, unread = pages.fleet()
    before = Checked(pages.hosts_page(groups, unread))
    text = pages.hosts_page(*(list(map(pages.hostile, part)) for part in (groups, unread)))
    found = Checked(text)
    forms, known = ({(tag, *attributes) for tag, attributes in p.tags} for p in (found, before))
    assert forms <= known
    assert not found.of("script")
    assert not {"\x1b", "\u202e", "\udcff"} & set(text)
    assert pages.HOSTILE[:30] in found.text


def test_a_page_of_2000_groups_is_never_in_memory_as_a_whole() -> None:
    groups, unread = pages.fleet()
    many = [replace(groups[0], hosts=[f"web{n}"]) for n in range(2000)]
    tracemalloc.start()
    size = sum(map(len, hosts.html(many, unread, Question(), pages.AT)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 2_000_000
    assert most < 2_000_000
