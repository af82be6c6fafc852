"""``enable``, ``disable`` and ``edit``: shown first, agreed to, in force, and back again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

TEMPLATE = "rps: {cpus: 0-1}\n"
FLEET = "match: [{kind: veth}]\npriority: 70\nrps: {cpus: 0}\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.profile("both", TEMPLATE)
        yield made


def ctl(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """netunedctl in the namespace, with nobody to agree."""
    return lab.ctl(*words, *where(lab), check=False, inside=True)


def mask(lab: Lab) -> str:
    return lab.attribute("lan0", "rx-0", "rps_cpus")


def where(lab: Lab) -> tuple[str, str]:
    return "--profiles", str(lab.profiles)


def on_a_terminal(lab: Lab, answer: str, *words: str, **environment: str) -> tuple[int, str]:
    """The exit status and what was seen, with an answer to each question."""
    return lab.on_a_terminal(answer, *words, *where(lab), **environment)


def test_it_is_shown_agreed_to_in_force_and_taken_away(lab: Lab) -> None:
    lab.start()
    file = lab.profiles / "enable-lan0.yaml"
    status, seen = on_a_terminal(lab, "n", "enable", "both", "lan0")
    assert (status, file.exists(), mask(lab)) == (1, False, "0")
    assert "extends: [both]" in seen
    assert "rps rx 0-1" in seen
    status, _ = on_a_terminal(lab, "y", "enable", "both", "lan0")
    assert (status, mask(lab), file.stat().st_mode & 0o777) == (0, "3", 0o644)
    assert lab.card("lan0")["state"] == "in-sync"
    again = json.loads(ctl(lab, "enable", "both", "lan0", "--json").stdout)
    assert (again["written"], again["plan"]["changes"]) == ([str(file)], [])
    gone = ctl(lab, "disable", "lan0", "--yes").stdout
    assert "lan0 is unmanaged, without a profile." in gone
    assert (file.exists(), mask(lab)) == (False, "0")
    failed = ctl(lab, "disable", "lan0", "--yes")
    assert failed.returncode == 1
    assert "nothing was enabled on lan0" in failed.stderr


def test_nobody_to_agree_and_mistakes_write_nothing(lab: Lab) -> None:
    lab.start()
    lab.profile("wrong", "irq: {spread: al}\n")
    before = sorted(lab.profiles.iterdir())
    for words, said in (
        (("enable", "both", "lan0"), "--yes does not ask"),
        (("enable", "bot", "lan0", "--yes"), "did you mean `both`?"),
        (("enable", "both", "lan7", "--yes"), "there is no card named lan7"),
        (("enable", "wrong", "lan0", "--yes"), "`wrong` has an error"),
    ):
        failed = ctl(lab, *words)
        assert failed.returncode == 1
        assert said in failed.stderr
    assert sorted(lab.profiles.iterdir()) == before


def test_one_that_would_win_is_above(lab: Lab) -> None:
    lab.profile("fleet", FLEET)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    assert mask(lab) == "1"
    ctl(lab, "enable", "both", "lan0", "--yes")
    text = (lab.profiles / "enable-lan0.yaml").read_text()
    assert "priority: 71\n" in text
    assert "fleet.yaml" in text
    assert (mask(lab), lab.card("lan0")["profile"]) == ("3", "enable-lan0")
    ctl(lab, "disable", "lan0", "--yes")
    assert (mask(lab), lab.card("lan0")["profile"]) == ("1", "fleet")


def test_a_trial_that_nobody_confirms_goes_back(lab: Lab) -> None:
    lab.start()
    words = ("enable", "both", "lan0", "--confirm", "60s", "--json")
    tried = json.loads(ctl(lab, *words).stdout)
    (trial,) = tried["confirm"]
    assert (trial["nic"], mask(lab)) == ("lan0", "3")
    lab.ctl("rollback", trial["id"])
    assert mask(lab) == "0"
    assert lab.card("lan0")["state"] == "drifted"
    ctl(lab, "disable", "lan0", "--yes")
    assert lab.card("lan0")["state"] == "unmanaged"


def test_what_enable_did_not_write_and_a_paused_card_are_left_alone(lab: Lab) -> None:
    lab.start()
    mine = lab.profile("enable-lan0", "# mine\nmatch: [{kind: veth, name: lan0}]\nrps: {cpus: 0}\n")
    link = lab.profiles / "enable-peer0.yaml"
    link.symlink_to("/dev/null")
    for words in (("enable", "both", "lan0"), ("enable", "both", "peer0"), ("disable", "lan0")):
        failed = ctl(lab, *words, "--yes")
        assert failed.returncode == 1
        assert "left alone" in " ".join(failed.stderr.split())
    assert mine.read_text().startswith("# mine")
    assert link.is_symlink()
    lab.ctl("pause", "lan0")
    before = mask(lab)
    mine.rename(lab.profiles / "mine.yaml")
    tried = ctl(lab, "enable", "both", "lan0", "--confirm", "60s")
    assert (tried.returncode, "lan0 is paused" in tried.stderr) == (1, True)
    paused = ctl(lab, "enable", "both", "lan0", "--yes")
    assert paused.returncode == 1
    assert "lan0 is paused" in paused.stdout
    assert mask(lab) == before


def test_without_the_daemon_the_file_waits_for_it(lab: Lab) -> None:
    told = ctl(lab, "enable", "both", "lan0", "--yes").stdout
    assert "systemctl enable --now netuned" in " ".join(told.split())
    assert mask(lab) == "0"
    refused = ctl(lab, "enable", "both", "lan0", "--confirm", "60s")
    assert refused.returncode == 1


def editor(directory: Path, script: str) -> str:
    path = directory / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_an_edit_is_in_force_once_it_is_good(lab: Lab, tmp_path: Path) -> None:
    """The first attempt has a mistake, of which nothing reaches the daemon."""
    lab.start()
    script = """
if [ -e "$0.once" ]; then printf 'extends: [both]\\nmatch: [{kind: veth, name: lan0}]\\n' > "$1"
else touch "$0.once"; printf 'extends: [bth]\\nmatch: [{kind: veth, name: lan0}]\\n' > "$1"; fi"""
    status, seen = on_a_terminal(lab, "y", "edit", "mine", EDITOR=editor(tmp_path, script))
    assert "did you mean `both`?" in seen
    assert status == 0
    assert (mask(lab), lab.card("lan0")["profile"]) == ("3", "mine")
    assert "profile" not in lab.logged().lower() or "bth" not in lab.logged()
    status, seen = on_a_terminal(lab, "y", "edit", "mine", EDITOR="true")
    assert "Nothing was changed." in seen
    status, seen = on_a_terminal(lab, "y", "edit", "other", "--yes", EDITOR="true")
    assert (status, (lab.profiles / "other.yaml").exists()) == (0, False)
    status, seen = on_a_terminal(lab, "y", "edit", "mine", EDITOR="vi '")
    assert (status, "the editor is said to be" in seen) == (1, True)
    status, seen = on_a_terminal(lab, "y", "edit", "mine", EDITOR="false")
    assert (status, "so nothing was written" in " ".join(seen.split())) == (1, True)
