"""``experiment``: arms take turns on a card, and the state from before is there afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.cli import turns
from netuned.errors import NetunedError
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

SENDER = """\
import socket, time
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind(("lan0", 0))
frame = b"\\xff" * 6 + b"\\x02" * 6 + b"\\x88\\xb5" + bytes(986)
while True:
    for _ in range(100):
        card.send(frame)
    time.sleep(0.005)
"""
FAST = ("--settle", "1s", "--warm-up", "1s", "--for", "1s")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.profile("both", "rps: {cpus: 0-1}\n")
        made.profile("base", "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0}\n")
        yield made


@pytest.fixture
def sender(tmp_path: Path) -> str:
    file = tmp_path / "sender.py"
    file.write_text(SENDER)
    return f"{sys.executable} {file}"


def words(lab: Lab, *arguments: str) -> list[str]:
    where = ("--profiles", str(lab.profiles))
    program = (sys.executable, "-m", "netuned.cli", "experiment", *arguments, *where)
    return lab.command(*program)


def run(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.run(*words(lab, *arguments)[4:], check=False)


def state(lab: Lab) -> tuple[str, ...]:
    """Of the card: what the kernel has, what netuned says, and which files there are."""
    lab.wait_state("lan0", "in-sync")
    card = lab.card("lan0")
    return (
        lab.attribute("lan0", "rx-0", "rps_cpus"),
        lab.shell("tc qdisc show dev lan0"),
        card["profile"],
        lab.status()["manager"]["pending_confirm"],
        *sorted(file.name for file in lab.profiles.iterdir()),
    )


def test_two_arms_take_turns_and_all_is_as_before(lab: Lab, sender: str) -> None:
    lab.start()
    before = state(lab)
    arms = ("none", "--set", "rps.cpus=0-1", "rings.rx=max")
    what = (*arms, "--card", "lan0", "--runs", "2", "--load", sender, *FAST, "--json")
    in_background = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")
    done = lab.run(*in_background, *words(lab, *what)[4:], check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["arms"] == ["none", "rps.cpus=0-1 rings.rx=max"]
    assert [(one["block"], one["arm"]) for one in told["runs"]] == [(0, 0), (0, 1), (1, 1), (1, 0)]
    for one in told["runs"]:
        assert one["measures"]["packets_s"] > 1000
        assert one["measures"]["gbit_s"] == pytest.approx(
            one["measures"]["packets_s"] * 8000 / 1e9, rel=0.1
        )
    assert "fewer than 5 runs tell nothing" in told["verdict"]
    assert "4 of 4: none: gbit_s" in done.stderr
    assert done.stderr.count("rps.cpus=0-1 rings.rx=max is not whole on lan0: rings: ") == 1
    assert state(lab) == before


def test_each_arm_is_in_force_in_its_turn(lab: Lab) -> None:
    """The load sees what the kernel has; it may fail, and then all is as before, too."""
    lab.start()
    before = state(lab)
    seen = lab.directory / "seen"
    look = f"cat /sys/class/net/lan0/queues/rx-0/rps_cpus >>{seen}; sleep 60"
    load = f"sh -c '{look}'"
    arms = ("both", "none", "--card", "lan0", "--runs", "2", *FAST)
    done = run(lab, *arms, "--load", load, "--metric", "cpus_busy", "--html")
    assert done.returncode == 0, done.stderr
    assert seen.read_text().split() == ["3", "0", "0", "3"]
    assert "<title>netuned experiment on lan0" in done.stdout
    failed = run(lab, *arms, "--load", "false")
    assert failed.returncode == 1
    assert "the load ended before the window did, with status 1" in failed.stderr
    assert state(lab) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_all_is_as_before(lab: Lab, sender: str, number: int) -> None:
    lab.start()
    before = state(lab)
    arms = ("both", "none", "--card", "lan0", "--load", sender, "--for", "60s")
    program = words(lab, *arms)
    process = subprocess.Popen(program, env=lab.environment, stderr=subprocess.DEVNULL)
    lab.wait(lambda: lab.attribute("lan0", "rx-0", "rps_cpus") == "3", "the first arm")
    find = ("pgrep", "-f", f"^{sender}")
    lab.wait(lambda: lab.run(*find, check=False).stdout, "the load")
    process.send_signal(number)
    process.wait(30)
    lab.wait(lambda: not list(lab.profiles.glob("experiment-*")), "the end of the arm")
    assert state(lab) == before
    lab.wait(lambda: not lab.run(*find, check=False).stdout, "the end of the load")


def test_killed_with_its_watch_the_daemon_puts_it_back(lab: Lab) -> None:
    """As a loss of power would: the trial's time is over, and the arm is left alone then."""
    lab.start()
    lab.wait_state("lan0", "in-sync")
    arms = ("both", "none", "--card", "lan0", "--live", "--for", "60s")
    process = subprocess.Popen(
        words(lab, *arms), env=lab.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    lab.wait(lambda: lab.status()["manager"]["pending_confirm"], "a trial")
    (watch,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (int(watch), process.pid):
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
    process.wait(10)
    with lab.asking() as client:
        client.roll_back()  # what its deadline comes to
    assert lab.attribute("lan0", "rx-0", "rps_cpus") == "1"
    (left,) = lab.profiles.glob("experiment-*")
    assert "Take it away" in left.read_text()
    left.unlink()
    lab.ctl("reload")
    assert state(lab)[0] == "1"


@pytest.mark.parametrize("told", [True, False])
def test_a_trial_that_told_no_id_is_undone_too(lab: Lab, *, told: bool) -> None:
    """As of a command that is cut off while the daemon sets what it asked for."""
    lab.start()
    before = state(lab)
    stage = turns.stage_of("lan0", str(lab.profiles), link_loss=False, own_link=False)
    text = turns.text_of({"rps": {"cpus": "0-1"}}, {"kind": "veth", "name": "lan0"}, 1000)
    with lab.asking() as client:
        id = turns.begin(client, stage, text, 300)
        assert id in lab.status()["manager"]["pending_confirm"]
        assert lab.attribute("lan0", "rx-0", "rps_cpus") == "3"
        turns.end(client, stage, id if told else "")
    assert state(lab) == before


def test_who_takes_an_arm_out_of_force_ends_it(lab: Lab) -> None:
    lab.start()
    before = state(lab)
    stage = turns.stage_of("lan0", str(lab.profiles), link_loss=False, own_link=False)
    text = turns.text_of({"rps": {"cpus": "0-1"}}, {"kind": "veth", "name": "lan0"}, 1000)
    with lab.asking() as client, turns.watched(stage) as watch:
        with (
            pytest.raises(NetunedError, match="was not kept as the arm has it"),
            turns.in_force(client, watch, stage, text, 300),
        ):
            client.roll_back()
        with turns.in_force(client, watch, stage, text, 300):
            pass
    assert state(lab) == before


def test_a_pause_of_a_card_without_a_profile_is_not_ended(lab: Lab) -> None:
    lab.start()
    arms = ("both", "none", "--card", "peer0", "--live", *FAST, "--runs", "2")
    lab.ctl("pause", "peer0")
    assert (lab.card("peer0")["state"], lab.card("peer0")["paused"]) == ("unmanaged", True)
    assert "peer0 is paused" in run(lab, *arms).stderr
    tried = ("enable", "both", "peer0", "--confirm", "30s", "--profiles", str(lab.profiles))
    assert "peer0 is paused" in lab.ctl(*tried, check=False, inside=True).stderr
    assert lab.card("peer0")["paused"]
    lab.ctl("resume", "peer0")
    assert not lab.card("peer0")["paused"]


def test_whole_blocks_before_a_failure_count(lab: Lab) -> None:
    lab.start()
    before = state(lab)
    count = lab.directory / "count"
    load = f"echo >>{count}; [ $(wc -l <{count}) -lt 5 ] || exit 7; sleep 60"
    arms = ("both", "none", "--card", "lan0", "--runs", "5", *FAST, "--metric", "cpus_busy")
    done = run(lab, *arms, "--load", f"sh -c '{load}'", "--json")
    assert done.returncode == 1
    assert "with status 7" in done.stderr
    assert "What was measured until block 2 follows" in done.stderr
    assert [(one["block"], one["arm"]) for one in json.loads(done.stdout)["runs"]] == [
        *((0, 0), (0, 1), (1, 1), (1, 0)),
    ]
    same = ("none", "--set", "rps.cpus=0", "--card", "lan0", *FAST, "--load", "false")
    assert "rps.cpus=0 changes nothing on lan0" in run(lab, *same).stderr
    assert state(lab) == before


def test_what_is_refused_changes_nothing(lab: Lab) -> None:
    lab.start()
    before = state(lab)
    live = ("--card", "lan0", "--live")
    for arguments, said in (
        (("both", *live), "two or more"),
        (("both", "both", *live), "both is there twice"),
        (("both", "bot", *live), "there is no profile `bot`"),
        (("both", "--set", "rps.cpu=1", *live), "rps.cpu"),
        (("both", "--set", "rps", *live), "is not KEY=VALUE"),
        (("both", "none", "--card", "lan7", "--live"), "no card named lan7"),
        (("none", "--set", "channels.combined=1", *live), "use --link-loss"),
        (("both", "none", *live, "--metric", "gbits"), "did you mean"),
        (("both", "none", "--card", "lan0", "--load", "a 'b"), "quote it as for a shell"),
    ):
        failed = run(lab, *arguments)
        assert failed.returncode == 1, arguments
        assert said in " ".join(failed.stderr.split()), failed.stderr
    lab.ctl("pause", "lan0")
    assert "lan0 is paused" in run(lab, "both", "none", *live).stderr
    lab.ctl("resume", "lan0")
    lab.shell("ip address add 192.0.2.1/24 dev lan0; ip route add default via 192.0.2.2")
    assert "lan0 carries the default route" in run(lab, "both", "none", *live).stderr
    assert state(lab) == before
