"""Profiles judged without a host, by facts; and what fleets write, as the documents have it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from netuned.cli.main import run
from netuned.profiles.loader import load
from netuned.profiles.trust import ANYONE
from netuned.snapshots import snapshot
from netuned.snapshots.described import machine
from tests.unit.test_units import ROOT

WEB = """\
cores: 4
cards:
  - {name: eth0, driver: ice, queues: 4}
"""
STORAGE = "nodes: 2\ncores: 32\ncards: [{name: eth0, driver: igb}]\n"
EDGE = "match: [{driver: ice}]\nirq: {spread: one-per-queue}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: facts of two kinds of hosts, and profiles."""
    (tmp_path / "web.yaml").write_text(WEB)
    snapshot.write(snapshot.take(machine(STORAGE)), str(tmp_path / "storage.tar.xz"))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/edge.yaml").write_text(EDGE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def check(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], Any]]:
    """Checks, and gives the exit status and what is said, as lines and as JSON."""

    def ask(*words: str) -> tuple[int, list[str], Any]:
        status = run(["check", *words])
        lines = capsys.readouterr().out.splitlines()
        assert run(["check", *words, "--json"]) == status
        return status, lines, json.loads(capsys.readouterr().out)

    return ask


BOTH = ("--facts", "web.yaml", "--facts", "storage.tar.xz")


def test_good_profiles_are_good_by_facts_too(check: Callable[..., Any]) -> None:
    status, lines, told = check("--strict", *BOTH, "profiles/edge.yaml")
    assert (status, lines) == (0, ["profiles/edge.yaml: good"])
    assert told["warnings"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "match: [{driver: ice}]\nirq: {cpus: 'local & isolated'}\n",
            "Warning: web.yaml: eth0: ",
        ),
        (
            "match: [{driver: igb}]\noffloads: {rx-gro-hw: on}\n",
            "Warning: storage.tar.xz: eth0 cannot have offloads: ",
        ),
        (
            "match: [{driver: mlx5_core}]\nirq: {spread: pack}\n",
            "Warning: web.yaml and storage.tar.xz: Profile edge (profiles/edge.yaml) matches no",
        ),
        (
            "match: [{driver: ice, mac: 52-54-00-12-34-56}]\n",
            "profiles/edge.yaml:1:28: match[0].mac: warning: ",
        ),
    ],
)
def test_what_hosts_cannot_have_is_a_warning_and_strictly_a_mistake(
    text: str, said: str, site: Path, check: Callable[..., Any]
) -> None:
    (site / "profiles/edge.yaml").write_text(text)
    status, lines, _ = check(*BOTH, "profiles/edge.yaml")
    assert status == 0
    assert [line for line in lines if line.startswith(said)]
    assert check("--strict", *BOTH, "profiles/edge.yaml")[0] == 1


def test_which_cpus_there_are_is_by_the_facts_and_not_by_this_host(
    site: Path, check: Callable[..., Any]
) -> None:
    (site / "profiles/edge.yaml").write_text(EDGE + "rps: {cpus: 40-41}\n")
    assert check("--facts", "storage.tar.xz", "profiles/edge.yaml")[0] == 0
    status, lines, told = check(*BOTH, "profiles/edge.yaml")
    (line,) = lines
    assert line.startswith("profiles/edge.yaml:3:13: rps.cpus: CPUs 40-41 cannot exist; ")
    assert (status, len(told["files"][0]["errors"])) == (1, 1)


def test_profiles_are_judged_with_those_beside_them_and_the_templates(
    site: Path, check: Callable[..., Any]
) -> None:
    (site / "profiles/site.yaml").write_text("rps: {cpus: auto}\n")
    (site / "profiles/edge.yaml").write_text(EDGE + "extends: [site, throughput]\n")
    assert check("--strict", *BOTH, "profiles/edge.yaml")[:2] == (0, ["profiles/edge.yaml: good"])
    (site / "profiles/twin.yaml").write_text(EDGE + "name: edge\n")
    status, lines, _ = check(*BOTH, "profiles/edge.yaml", "profiles/twin.yaml")
    assert status == 1
    assert "already has a profile with the name `edge`" in " ".join(lines)


def test_facts_that_are_none_are_told(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--facts", "none.yaml", "profiles/edge.yaml"]) == 1
    assert "none.yaml: cannot be read: No such file or directory" in capsys.readouterr().err


def test_a_version_that_is_not_known_is_the_only_mistake_and_says_what_to_do(
    site: Path, check: Callable[..., Any]
) -> None:
    edge, above = site / "profiles/edge.yaml", site / "profiles/above.yaml"
    edge.write_text("version: 1\n" + EDGE)
    above.write_text("extends: [edge]\n")
    assert check("--strict", *BOTH, "profiles/edge.yaml", "profiles/above.yaml")[0] == 0
    edge.write_text("# new\nversion: 2\nmatsch: [{driver: ice}]\n")
    status, lines, _ = check("profiles/edge.yaml")
    (line,) = lines
    assert status == 1
    assert line.startswith("profiles/edge.yaml:2:10: version: this is version 2 of the profile")
    assert "upgrade netuned, or write the profile as" in line
    told = " ".join(check("profiles/above.yaml")[1])
    assert "profiles/above.yaml:1:11: extends[0]: `edge` has an error" in told
    for text, said in (("yes", "`yes`"), ("1.0", "1.0"), ("0", "0"), ("[1]", "this")):
        edge.write_text(f"version: {text}\n")
        (line,) = check("profiles/edge.yaml")[1]
        assert "is not allowed here; write 1, the version of the profile format" in line, said


def test_the_last_good_version_stays_while_a_file_is_of_another_format(site: Path) -> None:
    directory = [str(site / "profiles")]
    before = load(directory, owner=ANYONE)
    (site / "profiles/edge.yaml").write_text("version: 2\n")
    after = load(directory, owner=ANYONE, previous=before)
    assert after.profiles == before.profiles
    assert len(after.errors) == 1


FLEET = (ROOT / "docs/fleet.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", FLEET, re.DOTALL | re.MULTILINE)


def test_what_a_cloud_writes_is_found_between_the_administrators_and_the_packages(
    tmp_path: Path,
) -> None:
    """The document's cloud-config, run as cloud-init does, and the directories in their order."""
    (text,) = [block for block in blocks("yaml") if block.startswith("#cloud-config\n")]
    commands = yaml.safe_load(text)["bootcmd"]
    for command in commands:
        assert "/run/netuned/" in command
        if "reload" not in command:
            here = command.replace("/run/netuned/", f"{tmp_path}/run/")
            subprocess.run(["sh", "-ec", here], check=True)
    directories = [str(tmp_path / top / "profiles.d") for top in ("etc", "run", "lib")]
    found = load(directories, owner=ANYONE)
    assert not found.errors
    (profile,) = found.profiles
    (file,) = Path(directories[1]).iterdir()
    for directory, priority in ((directories[2], 10), (directories[0], 90)):
        Path(directory).mkdir(parents=True)
        (Path(directory) / file.name).write_text(f"match: [{{name: eth0}}]\npriority: {priority}\n")
        (now,) = load(directories, owner=ANYONE).profiles
        assert (now.profile == profile.profile) == (priority == 10), "etc > run > lib"
    assert file.stat().st_mode & 0o022 == 0
