"""What only looks, where no daemon runs: it looks by itself, says so, and what it says is true."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

NOBODY = "65534"
ABSENT = "netuned is not running"
EDGE = "match: {kind: veth, name: lan0}\nrps: {cpus: 0}\n"

RUN = """\
import contextlib, io, json, locale, os, sys
from netuned.profiles import mistakes, schema, yamlreading
from netuned.cli import answers, main, plan, profiles, status
from netuned.snapshots import offline, unaided
schema.json_schema()  # imports all that compiles
offline.DEFAULT_DIRECTORIES = (sys.argv[2],)
if uid := int(sys.argv[1]):
    os.setgroups([]), os.setresgid(uid, uid, uid), os.setresuid(uid, uid, uid)
done = []
for words in sys.argv[3:]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        done.append((main.run(words.split()), said.getvalue()))
print(json.dumps(done))
"""
"""netunedctl with profiles elsewhere; another user's turns into it after its imports."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.start_bus()
        made.profile("edge", EDGE)
        yield made


def look(lab: Lab, *commands: str, uid: str = NOBODY) -> list[tuple[int, str]]:
    """The exit status and output of each."""
    done = lab.run(sys.executable, "-c", RUN, uid, str(lab.profiles), *commands)
    return [(status, said) for status, said in json.loads(done.stdout)]


def test_it_is_said_how_cards_are_and_nothing_is_done(lab: Lab) -> None:
    status, plan, coded = look(lab, "status --json", "plan --json", "plan --exit-code")
    assert (status[0], plan[0]) == (0, 0)
    shown = json.loads(status[1])
    assert shown["manager"]["state"] == "not-running"
    assert shown["manager"]["problems"][0].startswith(ABSENT)
    cards = {nic["name"]: nic["state"] for nic in shown["nics"] if nic["profile"]}
    assert cards == {"lan0": "drifted"}
    answer = json.loads(plan[1])
    assert [change["key"] for change in answer["changes"]] == ["rx-0", "rx-1"]
    assert answer["notes"][0].startswith(ABSENT)
    assert coded[1].startswith(ABSENT)
    unread = [problem["message"] for problem in answer["problems"]]
    assert all(said.startswith(("read /var/lib/netuned/", "read /run/netuned/")) for said in unread)
    assert coded[0] == (1 if unread else 3)
    assert lab.attribute("lan0", "rx-0", "rps_cpus").strip("0,") == ""

    lab.shell("for queue in /sys/class/net/lan0/queues/rx-*; do echo 1 >$queue/rps_cpus; done")
    lab.shell("echo 1 >/sys/class/net/peer0/queues/rx-1/rps_cpus")
    (unmanaged,) = look(lab, "status peer0 --json", uid="0")
    queues = json.loads(unmanaged[1])["queues"]
    assert [(queue["kind"], queue["index"], queue["rps"]) for queue in queues] == [
        *(("rx", 0, ""), ("rx", 1, "0"), ("tx", 0, ""), ("tx", 1, ""))
    ]
    commands = ("status lan0 --exit-code", "plan lan0", "profiles")
    for code, said in (answers := look(lab, *commands, uid="0")):
        assert said.startswith(ABSENT)
        assert code in (0, 3)
    assert answers[0][0] == 3, "nothing keeps it so"
    assert "\nlan0: in-sync, driver veth, profile edge\n" in answers[0][1]
    assert "\nNothing to do: lan0 is as its profile edge says.\n" in answers[1][1]
    assert "edge     50        lan0" in answers[2][1]
