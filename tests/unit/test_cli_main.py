"""netunedctl without a daemon: output that cannot be written or encoded, names, check, schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netuned.bus import wire
from netuned.cli import check, main, status
from netuned.cli.arguments import card_name
from netuned.cli.parser import make_parser
from netuned.cli.text import NARROW, Screen
from netuned.cpuset import CpuSet
from netuned.kernel.files import Files

PLAIN = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A locale that has ASCII alone."""


def ctl(
    *words: str | bytes, redirect: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run netunedctl from a shell, which can close its output."""
    script = f'exec "$0" -m netuned.cli "$@" {redirect}'
    command = ["bash", "-c", script, sys.executable, *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, check=False, capture_output=True, env=env)


FULL = b"netunedctl: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["schema", "check /dev/null", "check /dev/null --json", "--help"])
def test_a_full_disk_gets_one_sentence(words: str, unbuffered: str) -> None:
    done = ctl(*words.split(), redirect=">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, FULL)


@pytest.mark.parametrize(
    ("redirect", "status"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("2>/dev/full", 0), (">/dev/full 2>/dev/full", 1)],
)
def test_closed_files_are_no_error(redirect: str, status: int) -> None:
    done = ctl("schema", redirect=redirect)
    assert (done.returncode, done.stderr) == (status, b"")


def test_an_error_never_goes_to_standard_output() -> None:
    done = ctl("reload", redirect="2>&-", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent")
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"\\xd7\\u2026.yaml"),
        ({"PYTHONIOENCODING": "latin-1"}, b"\xd7\\u2026.yaml"),
        ({"PYTHONIOENCODING": "utf-8"}, "×….yaml".encode()),
    ],
)
def test_what_the_locale_cannot_encode_is_escaped(
    tmp_path: Path, environment: dict[str, str], shown: bytes
) -> None:
    path = tmp_path / "×….yaml"
    path.write_text("name: edge\nmatch: {name: eth0}\n", "utf-8")
    done = ctl("check", str(path), **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert shown in done.stdout


@pytest.mark.parametrize("columns", ["²", "9" * 5000, "٣٠", "0", "-1", "wide", ""])
def test_a_senseless_width_is_none(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Screen.of_stdout().width == NARROW


@pytest.mark.parametrize("name", ["eth0", "e\udcff", "网卡", "a\u3000b", "a\x1cb"])
def test_a_card_is_named_by_its_bytes_in_any_locale(name: str) -> None:
    assert card_name(name) == wire.text(name)
    names = "from netuned.cli.arguments import card_name"
    script = f"{names}; import sys; print(ascii(card_name(sys.argv[1])))"
    command: list[str | bytes] = [sys.executable, "-c", script, os.fsencode(name)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **PLAIN}
    )
    assert done.stdout == f"{wire.text(name)!a}\n"


@pytest.mark.parametrize(
    ("content", "cpus"),
    [("0-3\n", CpuSet.of(range(4))), ("", None), ("nonsense\n", None), (None, None)],
)
def test_the_hosts_cpus(tmp_path: Path, content: str | None, cpus: CpuSet | None) -> None:
    path = tmp_path / check.POSSIBLE.lstrip("/")
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_text(content)
    assert check.possible_cpus(Files(str(tmp_path))) == cpus


def test_check_refuses_cpus_the_host_cannot_have(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text("match: {name: eth0}\nrps: {cpus: 0-40000}\n")
    done = ctl("check", str(path))
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:2:13: rps.cpus: ".encode())
    assert b"this host has CPUs 0" in done.stdout


def test_check_says_what_a_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "good.yaml": "match: {name: eth0}\n",
        "doubtful.yaml": "match: {mac: 52-54-00-12-34-56}\n",
        "empty.yaml": "# nothing\n",
        "netuned.yaml": "confirm_timeout: 60s\n",
        "edge.conf": "match: {name: eth0}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert main.run(["check", *(str(tmp_path / name) for name in files)]) == 0
    assert capsys.readouterr().out.replace(f"{tmp_path}/", "").splitlines() == [
        "good.yaml: good",
        "doubtful.yaml:1:14: match[0].mac: warning: no card has the address "
        "`52-54-00-12-34-56`; write 52:54:00:12:34:56",
        "empty.yaml: empty, so it masks the profile in a file of this name "
        "in the directories below",
        "netuned.yaml: good",
        "edge.conf: warning: netuned reads files whose names end with .yaml or .yml, "
        "without a first dot",
    ]
    assert main.run(["check", "--json", str(tmp_path / "doubtful.yaml")]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert [warning["column"] for warning in as_json["files"][0]["warnings"]] == [14]


def test_a_profile_is_judged_by_its_place_not_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, profile = tmp_path / "netuned.yaml", tmp_path / "profiles.d/netuned.yaml"
    profile.parent.mkdir()
    for path in (settings, profile):
        path.write_text("match: {name: eth0}\n")
    assert main.run(["check", str(profile)]) == 0
    assert main.run(["check", str(settings)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{profile}: good",
        f"{settings}:1:1: match: unknown key; "
        "this belongs in a profile, a file in /etc/netuned/profiles.d",
    ]


def test_schema_takes_json() -> None:
    done = ctl("schema", "--json")
    assert done.stdout == ctl("schema").stdout
    assert "properties" in json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stauts", "there is no command named stauts; did you mean `status`? there are: 2"),
        ("explain etj0 --snapshot {}", "no card named etj0; did you mean `eth0`? there are: eth0"),
        ("doctor etj0 --snapshot {}", "no card named etj0; did you mean `eth0`? there are: eth0"),
        ("capture etj0 --snapshot {}", "no card named etj0; did you mean `eth0`? there are: eth0"),
        ("plan etj0 --snapshot {}", "no card named etj0; did you mean `eth0`? there are: eth0"),
        (
            "diff thruput base",
            "there is no profile named thruput; did you mean `throughput`? there",
        ),
        ("enable thruput lo", "there is no card named lo; "),
    ],
)
def test_what_was_meant_perhaps_is_said_alike(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text("cards: [{name: eth0, driver: igb}]")
    assert main.run(words.format(machine).split()) in (1, 2)
    assert said in capsys.readouterr().err


def test_the_plain_status_needs_no_argparse() -> None:
    asked = vars(make_parser(["status"]).parse_args(["status"]))
    assert {key: asked[key] for key in status.PLAIN} == {**status.PLAIN, "nics": []}
    assert asked.keys() - status.PLAIN.keys() == {"run", "version"}
    script = (
        "import sys; from netuned.cli import status; status.run = lambda _: 0;"
        "from netuned.cli.main import run; run([]); run(['status']);"
        "print({'argparse', 'netuned.cli.parser'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "set()\n"
