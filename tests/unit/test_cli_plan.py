"""A plan for people: queues with the same change in one row, nothing left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.cli.main import run
from netuned.cli.plan import Answer, Matched, as_json, grouped, show, show_changes
from netuned.cli.text import Screen
from netuned.cpuset import CpuSet
from netuned.plan import Change, Lack, Plan
from netuned.profiles.searchpath import shipped_templates
from netuned.values import ABSENT, ChannelCounts


def change(setting: str, before: str = "ff", after: str = "", why: str = "off") -> Change:
    """``en0 rps rx-0``, from one mask to another; no ``before`` is a queue yet to come."""
    ifname, tunable, *key = setting.split()
    was = CpuSet.parse_mask(before) if before else None
    return Change(ifname, tunable, "".join(key), was, CpuSet.parse_mask(after or "0"), why)


def rows(changes: Sequence[Change]) -> list[str]:
    return [f"{first.ifname} {setting}" for setting, first in grouped(changes)]


def test_queues_with_the_same_change_are_one_row() -> None:
    assert rows([change(f"en0 rps rx-{n}") for n in range(64)]) == ["en0 rps rx 0-63"]
    assert rows([change(f"en0 rps rx-{n}") for n in (0, 1, 2, 5, 9, 10)]) == [
        "en0 rps rx 0-2,5,9-10"
    ]


def test_one_queue_keeps_its_name() -> None:
    assert rows([change("en0 rps rx-3")]) == ["en0 rps rx-3"]
    assert rows([change("en0 channels"), change("en0 qdisc root")]) == [
        "en0 channels",
        "en0 qdisc root",
    ]


def test_whatever_differs_stands_apart() -> None:
    assert rows(
        [
            change("en0 irq rx-0", after="1"),
            change("en0 irq rx-1", after="2"),
            change("en0 irq rx-2", after="1"),
            change("en0 irq rx-3", before="", after="1"),
            change("en0 irq rx-4", after="1", why="another"),
            change("en0 irq tx-0", after="1"),
        ]
    ) == ["en0 irq rx 0,2", "en0 irq rx-1", "en0 irq rx-3", "en0 irq rx-4", "en0 irq tx-0"]


def test_cards_tunables_and_their_order_stay() -> None:
    changes = [
        change("en0 rss"),
        change("en0 channels"),
        *(change(f"en0 rps rx-{n}") for n in range(2)),
        *(change(f"en1 rps rx-{n}") for n in range(2)),
        *(change(f"en1 xps tx-{n}") for n in range(2)),
        change("en0 rps rx-7"),
    ]
    assert rows(changes) == [
        "en0 rss",
        "en0 channels",
        "en0 rps rx 0-1",
        "en1 rps rx 0-1",
        "en1 xps tx 0-1",
        "en0 rps rx-7",
    ]


@given(st.lists(st.tuples(st.sampled_from(("rx", "tx")), st.integers(0, 9), st.sampled_from("12"))))
def test_every_change_is_in_one_row(keys: list[tuple[str, int, str]]) -> None:
    named = {(kind, queue): after for kind, queue, after in keys}
    changes = [
        change(f"en0 irq {kind}-{queue}", after=after) for (kind, queue), after in named.items()
    ]
    shown = set()
    for setting, first in grouped(changes):
        words = setting.replace("-", " ", 1).split() if setting.count(" ") == 1 else setting.split()
        shown |= {(words[1], queue, str(first.after)) for queue in CpuSet.parse_list(words[2])}
    assert shown == {(c.key[:2], int(c.key[3:]), str(c.after)) for c in changes}


def test_the_reason_stands_once_below_its_rows() -> None:
    why = "the CPUs nearest to this queue's interrupt, one of them at least"
    changes = [change(f"en0 xps tx-{n}", after=f"{n + 1:x}", why=why) for n in range(8)]
    text = show_changes(changes, Screen(width=80))
    assert text.count("nearest") == 1
    assert text.splitlines()[-1].startswith("  why: the CPUs nearest")


def test_json_has_every_change() -> None:
    changes = as_json(Plan(tuple(change(f"en0 rps rx-{n}") for n in range(64))))["changes"]
    assert isinstance(changes, list)
    assert [entry["key"] for entry in changes] == [f"rx-{n}" for n in range(64)]


DENIED = Change("en0", "channels", "", ChannelCounts(0, 0, 2), ChannelCounts(0, 0, 4), "max", True)


def shown(plan: Plan, *names: str) -> str:
    return show(Answer(plan, {"en0": Matched("edge")}), names, Screen(width=80))


def test_what_is_withheld_is_shown_apart_and_is_not_nothing_to_do() -> None:
    for text in (shown(Plan((), (), (DENIED,))), shown(Plan((), (), (DENIED,)), "en0")):
        assert text.startswith("Nothing would be changed, and not all is as the profiles say.\n")
        assert "Withheld by policy.disruptive: deny\nCARD  SETTING" in text
        assert "Nothing to do" not in text
        assert "drop the link" not in text
    both = shown(Plan((change("en0 rps rx-0"),), (), (DENIED,)))
    assert both.index("en0   rps rx-0") < both.index("Withheld") < both.index("en0   channels")
    assert "Nothing" not in both


def test_a_card_alone_has_what_is_withheld_of_it() -> None:
    answer = Answer(Plan((), (), (DENIED,)), {"en0": Matched("edge"), "en1": Matched("edge")})
    assert answer.of(["en0"]).plan.withheld == (DENIED,)
    assert answer.of(["en1"]).plan.withheld == ()


def test_nothing_to_do_is_not_said_where_something_cannot_be_had() -> None:
    lacks = (Lack("en0", "rss", "one queue"), Lack("en1", "rss", "one queue"), Lack("en1", "rfs"))
    text = shown(Plan((), unsupported=lacks))
    assert "Nothing to do" not in text
    assert text.startswith("Nothing would be changed, and not all is as the profiles say.\n")
    assert "\nCannot be had\nen0, en1 rss: one queue\n" in text
    both = shown(Plan((change("en0 rps rx-0"),), unsupported=lacks))
    assert "Nothing" not in both
    assert both.index("en0   rps rx-0") < both.index("Cannot be had")
    every = "Nothing to do: every card with a profile is as the profile says"
    assert shown(Plan(())) == f"{every}.\n"
    assert shown(Plan(()), "en0") == "Nothing to do: en0 is as its profile edge says.\n"
    answer = Answer(Plan((), unsupported=lacks), {"en0": Matched("edge"), "en1": Matched("edge")})
    assert answer.of(["en0"]).plan.unsupported == lacks[:1]


def test_a_plan_without_the_daemon_names_what_cannot_be_had(host: Host) -> None:
    host.write("new.yaml", "match: {name: eth0}\nrings: {rx: 99999}")
    status, said, _ = host.plan("new.yaml", "eth0", "--exit-code")
    assert status == 3
    assert said.startswith("Nothing would be changed, and not all is as the profiles say.")
    assert "Cannot be had eth0 rings: " in said


def test_what_is_not_there_and_what_is_to_come_are_told_apart() -> None:
    rule = Change("en0", "rps", "rx-0", ABSENT, CpuSet.of([1]), "")
    lines = show_changes(
        (
            rule,
            replace(rule, key="rx-1", before=None),
            replace(rule, before=rule.after, after=ABSENT),
        ),
        Screen(width=80),
    ).splitlines()
    assert [line.split()[3:5] for line in lines[1:]] == [["none", "1"], ["-", "1"], ["1", "none"]]


def test_json_has_values_beside_their_text() -> None:
    made = Plan((change("en0 rps rx-0", before="", after="6"),), (), (DENIED,))
    written = json.loads(json.dumps(as_json(made)))
    entry, denied = written["changes"][0], written["withheld"][0]
    assert (entry["before"], entry["after"]) == (None, "1-2")
    assert (entry["before_value"], entry["after_value"]) == (None, [1, 2])
    assert denied["after_value"] == {"combined": 4}
    assert denied["why_withheld"] == "policy.disruptive is deny, and it drops the link"
    assert written["unsupported"] == []
    missing = as_json(Plan((), unsupported=(Lack("en0", "rss", "why"),)))["unsupported"]
    assert missing == [{"ifname": "en0", "tunable": "rss", "why": "why"}]


def test_a_directory_of_profiles_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--profiles", "/nonexistent"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "netunedctl: /nonexistent: is no directory of profiles; name one\n"
    assert not shown.out


# As if files were dropped

MACHINE = """\
nodes: 1
cores: 4
cards:
  - {name: eth0, driver: ice, queues: 2}
  - {name: eth1, driver: igb, queues: 2}
  - {name: eth2, driver: igb, queues: 2}
  - {name: bond0, kind: bond, over: [eth1, eth2]}
"""


class Host:
    """A described machine, the profiles in force there, and files that are not dropped yet."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys
        (root / "etc").mkdir()
        self.write("machine", MACHINE)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text)
        return path

    def plan(self, *words: str, profiles: bool = True) -> tuple[int, str, str]:
        """Its exit status and what it says, where lines are joined."""
        where = ("--profiles", "etc") if profiles else ()
        status = run(["plan", "--snapshot", "machine", *where, *words])
        shown = self.capsys.readouterr()
        return status, " ".join(shown.out.split()), shown.err

    def changes(self, *words: str) -> list[str]:
        status = run(["plan", "--snapshot", "machine", "--profiles", "etc", "--json", *words])
        shown = self.capsys.readouterr()
        assert (status, shown.err) == (0, "")
        return [
            f"{change['ifname']} {change['tunable']} {change['key']}: {change['after']}"
            for change in json.loads(shown.out)["changes"]
        ]


@pytest.fixture
def host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Host:
    monkeypatch.chdir(tmp_path)
    return Host(tmp_path, capsys)


def test_a_file_is_planned_as_if_it_were_dropped(host: Host) -> None:
    host.write("etc/common.yaml", "rps: {cpus: 3}")
    host.write("new.yaml", "extends: common\nmatch: {name: eth0}")
    assert host.changes() == []
    assert host.changes("new.yaml") == ["eth0 rps rx-0: 3", "eth0 rps rx-1: 3"]
    (host.root / "new.yaml").rename(host.root / "etc/new.yaml")
    assert host.changes() == ["eth0 rps rx-0: 3", "eth0 rps rx-1: 3"]
    host.write("common.yaml", "rps: {cpus: 2}")
    assert host.changes("common.yaml") == ["eth0 rps rx-0: 2", "eth0 rps rx-1: 2"]
    host.write("new.yaml", "")
    assert host.changes("new.yaml", "./common.yaml") == []
    assert host.plan("new.yaml", "--exit-code")[0] == 0
    assert host.plan("common.yaml", "--exit-code")[0] == 3


def test_a_file_is_planned_as_if_it_were_taken_away(host: Host) -> None:
    host.write("etc/common.yaml", "rps: {cpus: 3}")
    host.write("etc/new one.yaml", "name: new\nextends: common\nmatch: {name: eth0}")
    assert host.changes("--without", "etc/new one.yaml") == []
    assert host.plan("--without", "new one.yaml", "--exit-code")[0] == 0
    status, _, said = host.plan("--without", "common.yaml")
    assert status == 1
    assert "etc/new one.yaml:2:10: extends: there is no profile `common`" in said
    _, _, said = host.plan("--without", "none.yaml")
    missing = "etc/none.yaml: there is no such file, so it cannot go"
    assert said == f"netunedctl: {missing}; mend that, and try it again\n"


def test_rows_are_as_people_are_shown_them(host: Host) -> None:
    host.write("new.yaml", "match: {name: eth0}\nrps: {cpus: 3}")
    run(["plan", "new.yaml", "--snapshot", "machine", "--profiles", "etc", "--json"])
    (row,) = json.loads(host.capsys.readouterr().out)["rows"]
    wanted = {"ifname": "eth0", "setting": "rps rx 0-1", "before": "none", "after": "3"}
    assert row == {**wanted, "disruptive": False}


def test_shipped_templates_are_found_without_an_installation(host: Host) -> None:
    host.write("new.yaml", "extends: base\nmatch: {name: eth0}")
    status, shown, _ = host.plan("new.yaml", profiles=False)
    assert status == 0
    assert "eth0 irq rxtx-0" in shown
    _, _, said = host.plan("new.yaml")  # these profiles instead of the host's
    assert said.startswith("new.yaml:1:10: extends: there is no profile `base`\n")


def test_a_file_from_standard_input(host: Host) -> None:
    command = [sys.executable, "-m", "netuned.cli", "plan", "-", "--snapshot", "machine", "--json"]

    def ask(profile: str, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(
            [*command, *words], check=False, input=profile, capture_output=True, text=True, env=env
        )

    answer = json.loads(ask("match: {name: eth0}\nrps: {cpus: 1}").stdout)
    assert [change["key"] for change in answer["changes"]] == ["rx-0", "rx-1"]
    assert answer["notes"] == []
    refused = ask("match: {name: eth0}\nrps: {cpu: 1}")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("stdin.yaml:2:7: rps.cpu: ")
    named = ask("match: {name: eth0}\nrps: {cpu: 1}", "--as", "/etc/netuned/profiles.d/ab.yaml")
    assert named.stderr.startswith("/etc/netuned/profiles.d/ab.yaml:2:7: rps.cpu: ")
    assert json.loads(ask("").stdout)["notes"] == [
        "stdin.yaml is empty, and there is no profile in a file of that name to mask."
    ]


def test_a_plan_without_the_daemon_imports_nothing_for_it(host: Host) -> None:
    host.write("etc/edge.yaml", "match: {name: eth0}\nrps: {cpus: 1}")
    script = (
        "import os, sys; from netuned.cli.main import main;"
        "os._exit = lambda status: print(status, *sys.modules, file=sys.stderr); main()"
    )
    words = ("plan", "--snapshot", "machine", "--profiles", "etc")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, env=env, check=True
    )
    status, *modules = done.stderr.split()
    costly = {"asyncio", "dbus_fast", "jeepney", "rich", "psutil", "_ssl", "email", "zipfile"}
    assert status == "0"
    assert not set(modules) & costly


def test_a_mistake_is_told_with_its_place_and_nothing_is_planned(host: Host) -> None:
    host.write("etc/web.yaml", "match: {name: eth1}\nrps: {cpus: 3}")
    host.write("new.yaml", "match: {name: eth0}\nrps: {cpu: 1}\npriority: high")
    for words in (("new.yaml",), ("new.yaml", "--json"), ("new.yaml", "eth1")):
        status, shown, said = host.plan(*words)
        assert (status, shown) == (1, "")
        *mistakes, last = said.splitlines()
        assert [line.partition(" ")[0] for line in mistakes] == ["new.yaml:2:7:", "new.yaml:3:11:"]
        assert last.startswith("netunedctl: nothing is planned, since netuned would not take what")


def test_a_mistake_that_was_there_before_does_not_hinder(host: Host) -> None:
    host.write("etc/bad.yaml", "prio: 3")
    host.write("new.yaml", "match: {name: eth0}\nrps: {cpus: 1}")
    status, shown, said = host.plan("new.yaml", "--exit-code")
    assert status == 1
    assert shown.startswith("CARD SETTING")
    assert said.startswith("etc/bad.yaml:1:1: prio: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("new.yaml", "new.yaml: there is no such file"),
        ("./eth0", "./eth0: netuned reads files whose names end with .yaml or .yml, without"),
        ("machine", "machine: netuned reads files whose names end with .yaml or .yml, without"),
        ("./.a.yaml", "./.a.yaml: netuned reads files whose names end with .yaml or .yml, without"),
        ("dir.yaml", "dir.yaml: is not a regular file"),
        ("a.yaml etc/a.yaml", "etc/a.yaml: a.yaml has the same name, so one of them would replace"),
        ("eth7", "there is no card named eth7; did you mean `eth2`? there are: eth0, eth1, eth2"),
    ],
)
def test_what_cannot_be_planned(host: Host, words: str, said: str) -> None:
    host.write("a.yaml", "{}")
    host.write("etc/a.yaml", "{}")
    (host.root / "dir.yaml").mkdir()
    status, shown, errors = host.plan(*words.split())
    assert (status, shown) == (1, "")
    assert errors.startswith(f"netunedctl: {said}")


def test_a_profile_that_matches_no_card_says_what_is_nearest(host: Host) -> None:
    host.write("new.yaml", "match: {driver: ice, name: [lan0, lan1]}\nrps: {cpus: 1}")
    status, shown, _ = host.plan("new.yaml", "--exit-code")
    assert status == 0
    assert shown == (
        "Profile new (new.yaml) matches no card; nearest are "
        "eth0 (name is eth0, not [lan0, lan1]), "
        "bond0 (name is bond0, not [lan0, lan1]; driver is bonding, not ice), "
        "eth1 (name is eth1, not [lan0, lan1]; driver is igb, not ice)."
    )


def test_a_template_and_a_profile_that_comes_second_are_in_force_nowhere(host: Host) -> None:
    host.write("etc/web.yaml", "match: {name: eth0}\npriority: 80")
    host.write("etc/bonded.yaml", "match: {kind: bond}\npriority: 70")
    host.write("new.yaml", "match: {kind: [bond, physical]}\nrps: {cpus: 1}")
    host.write("common.yaml", "rps: {cpus: 1}")
    assert host.plan("new.yaml", "common.yaml")[1] == (
        "Profile common (common.yaml) is a template: it has no match, so it is in force on no card "
        "by itself. Profile new (new.yaml) is in force on no card: with priority 50 it comes after "
        "web (priority 80) on eth0 and bonded (priority 70) on eth1, eth2."
    )
    host.write("new.yaml", "extends: common\nmatch: {name: eth0}\npriority: 90")
    assert host.plan("new.yaml", "common.yaml")[1].startswith("CARD SETTING")


def test_a_card_alone_and_those_it_is_tuned_through(host: Host) -> None:
    host.write("new.yaml", "match: {kind: [bond, physical]}\nrps: {cpus: 1}")
    cards = [line.partition(" rps")[0] for line in host.changes("new.yaml")]
    assert cards == ["eth0", "eth0", "eth1", "eth1", "eth2", "eth2"]
    assert {line.split()[0] for line in host.changes("new.yaml", "eth1")} == {"eth1"}
    assert {line.split()[0] for line in host.changes("bond0", "new.yaml")} == {"eth1", "eth2"}
    host.write("new.yaml", "match: {name: eth0}\nrps: {cpus: none}")
    assert host.plan("new.yaml", "eth0", "bond0")[1] == (
        "Nothing to do: eth0 is as its profile new says. "
        "Nothing to do: bond0 has no profile, and there is nothing to put back."
    )


@pytest.mark.parametrize("words", [(), ("--exit-code",), ("eth0",), ("--json",)])
def test_a_directory_whose_profiles_match_no_card(host: Host, words: tuple[str, ...]) -> None:
    host.write("etc/edge.yaml", "match: {driver: mlx5_core}\nrps: {cpus: 1}")
    status, shown, said = host.plan(*words)
    assert (status, said) == (1, "")
    assert "No profile in etc matches a card." in shown
    assert "Profile edge (etc/edge.yaml) matches no card; nearest are" in shown
    assert "eth1 (driver is igb, not mlx5_core)" in shown
    assert "Nothing to do: every card" not in shown
    for number in range(9):
        host.write(f"etc/{number}.yaml", f"name: p{number}\nmatch: {{name: none{number}}}")
    assert "Nor does one of 5 more." in host.plan(*words)[1]
    host.write("etc/web.yaml", "match: {name: eth0}")
    status, shown, _ = host.plan(*words)
    assert status == 0
    assert "matches a card" not in shown


def test_a_directory_without_profiles(host: Host) -> None:
    host.write("etc/edge.conf", "match: {name: eth0}")
    status, shown, _ = host.plan()
    assert status == 1
    assert shown.startswith("There is no profile in etc: netuned reads files whose names end with")
    host.write("etc/common.yaml", "rps: {cpus: 1}")
    status, shown, _ = host.plan()
    assert status == 0
    assert shown.startswith("The profiles in etc are templates: none has a match")


@pytest.mark.parametrize("command", ["plan", "explain eth0"])
def test_a_directory_that_does_not_find_what_it_extends(
    host: Host, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    host.write("etc/edge.yaml", "extends: [base]\nmatch: {name: eth0}")
    host.write("etc/web.yaml", "match: {name: eth1}\nrps: {cpus: 1}")
    words = [*command.split(), "--snapshot", "machine", "--profiles", "etc"]
    assert run(words) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("etc/edge.yaml:1:11: extends[0]: there is no profile `base`\n")
    assert f"--profiles {shipped_templates()}\n" in shown.err
    assert "Nothing to do" not in shown.out
    assert run([*words, "--profiles", shipped_templates()]) == 0
    assert capsys.readouterr().err == ""
