"""Trials on real veth cards: confirmed, rolled back, cut short; and what is restored stays so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netuned.statefile import checksum
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

QUEUES = "/sys/class/net/lan0/queues"
OLD = """\
match:
  - {kind: veth, name: lan0}
channels: {combined: 2}
rps: {cpus: 0}
"""
NEW = """\
match:
  - {kind: veth, name: lan0}
channels: {combined: 4}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 500}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        yield made


def put(path: Path, text: str) -> None:
    """Have a file of settings there, whole, in one step."""
    draft = path.with_name("draft")
    draft.write_text(text)
    draft.chmod(0o644)
    draft.rename(path)


def state(lab: Lab) -> str:
    """All that netuned can set on a veth card, as the kernel shows it (qdisc handles aside)."""
    found = json.loads(lab.shell("tc -j qdisc show dev lan0"))
    kinds = sorted((q.get("parent", "root")[-1], q["kind"]) for q in found)
    # queues may go while they are read
    read = "grep -Hs . rx-*/rps_cpus tx-*/xps_cpus || true; ethtool -l lan0 | tail -5"
    return f"{kinds}\n" + lab.shell(f"cd {QUEUES}; {read}")


def trial(lab: Lab, timeout: str = "60s") -> str:
    """Pause, drop the new profile, apply it to be confirmed. Returns the id."""
    lab.ctl("pause")
    lab.profile("edge", NEW)
    lab.ctl("reload")
    answer = json.loads(lab.ctl("apply", "--confirm", timeout, "--json").stdout)
    assert not answer["problems"]
    assert answer["confirm"]["until"]
    confirm: dict[str, str] = answer["confirm"]
    return confirm["id"]


def pending(lab: Lab) -> str:
    text: str = lab.status()["manager"]["pending_confirm"]
    return text


def settings(lab: Lab) -> dict[str, Any]:
    return {setting["tunable"]: setting for setting in lab.card("lan0")["settings"]}


def refused(lab: Lab, *words: str) -> str:
    done = lab.ctl(*words, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def begun(lab: Lab, *words: str) -> subprocess.Popen[bytes]:
    """netunedctl, whose daemon will be killed."""
    command = [sys.executable, "-m", "netuned.cli", *words]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, env=lab.environment, stdout=null, stderr=null)


@pytest.fixture
def edge(lab: Lab) -> Lab:
    """The daemon with the old profile in force."""
    lab.profile("edge", OLD)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    return lab


def test_a_trial_undoes_itself_and_is_not_applied_again(edge: Lab) -> None:
    before = state(edge)
    id = trial(edge, "1s")
    tried = state(edge)
    assert tried != before
    assert id in pending(edge)
    edge.wait(lambda: not pending(edge), "the rollback")
    assert state(edge) == before
    edge.ctl("reload")
    time.sleep(0.3)
    assert state(edge) == before
    assert edge.card("lan0")["state"] == "drifted"
    reason = settings(edge)["rps"]["reason"]
    assert id in reason
    assert "netunedctl apply lan0" in reason
    assert edge.ctl("plan", "--exit-code", check=False).returncode == 3
    edge.ctl("apply")
    assert state(edge) == tried
    edge.wait_state("lan0", "in-sync")


def test_a_confirmed_trial_stays(edge: Lab) -> None:
    id = trial(edge, "4s")
    tried = state(edge)
    for _ in range(3):
        edge.status()  # looking confirms nothing
    assert id in pending(edge)
    assert "other" in refused(edge, "confirm", "other")
    edge.ctl("confirm", id)
    assert pending(edge) == ""
    time.sleep(4)
    assert state(edge) == tried
    edge.wait_state("lan0", "in-sync")
    assert id in refused(edge, "confirm", id)
    edge.shell(f"echo 2 > {QUEUES}/rx-0/rps_cpus")
    edge.wait(lambda: state(edge) == tried, "the repair")


@pytest.mark.parametrize("named", [True, False])
def test_rollback_at_once(edge: Lab, named: bool) -> None:
    before = state(edge)
    id = trial(edge)
    edge.ctl("rollback", *([id] if named else []))
    assert state(edge) == before
    assert pending(edge) == ""
    assert "nothing waits" in refused(edge, "rollback")
    assert id in refused(edge, "confirm", id)


def test_a_second_is_refused_naming_the_first(edge: Lab) -> None:
    id = trial(edge)
    assert id in refused(edge, "apply", "--confirm", "5s", "lan0")
    assert id in refused(edge, "apply", "--confirm", "5s")
    assert edge.ctl("status", "--exit-code", check=False).returncode == 3
    assert id in refused(edge, "restore", "lan0")
    edge.ctl("apply", "--confirm", "5s", "peer0")  # another card: nothing to do there
    assert pending(edge).startswith(id)


def test_nothing_to_change_is_no_trial(edge: Lab) -> None:
    answer = json.loads(edge.ctl("apply", "--confirm", "1s", "--json").stdout)
    assert answer["confirm"] is None
    assert pending(edge) == ""


def test_what_others_change_meanwhile_is_neither_repaired_nor_rolled_back(edge: Lab) -> None:
    trial(edge)
    edge.shell(f"echo 2 > {QUEUES}/rx-0/rps_cpus")
    edge.wait_state("lan0", "drifted")
    time.sleep(0.2)
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "2"
    edge.ctl("rollback")
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "2"
    assert edge.attribute("lan0", "rx-1", "rps_cpus") == "1"
    assert "rps rx-0: somebody has changed it since" in edge.logged()
    assert edge.daemon
    edge.daemon.kill()
    edge.daemon.wait()
    edge.start()  # and that is still known
    reason = settings(edge)["rps"]["reason"]
    assert "rolled back but for rx-0, which somebody else has changed since" in reason
    assert "but for" not in settings(edge)["xps"]["reason"]


def test_a_changed_profile_waits_for_the_end_of_the_trial(edge: Lab) -> None:
    trial(edge)
    tried = state(edge)
    edge.profile("edge", OLD.replace("cpus: 0", "cpus: 1"))
    edge.ctl("reload")
    assert state(edge) == tried
    edge.ctl("rollback")
    edge.wait(lambda: edge.attribute("lan0", "rx-0", "rps_cpus") == "2", "the profile after it")
    edge.wait_state("lan0", "in-sync")


def test_a_failed_trial_is_rolled_back_and_left_so(edge: Lab) -> None:
    """A read-only bind mount over one queue's file stands for a driver that refuses it."""
    before = state(edge)
    edge.ctl("pause")
    edge.profile("edge", NEW)
    edge.ctl("reload")
    assert edge.daemon
    stand_in = edge.directory / "stand-in"
    stand_in.write_text("0\n")
    inside = ("nsenter", "-t", str(edge.daemon.pid), "-m")
    target = f"{QUEUES}/tx-1/xps_cpus"
    subprocess.run([*inside, "mount", "--bind", str(stand_in), target], check=True)
    subprocess.run([*inside, "mount", "-o", "remount,ro,bind", target], check=True)
    said = refused(edge, "apply", "--confirm", "60s")
    assert "xps tx-1" in said
    assert "EROFS" in said
    assert pending(edge) == ""
    assert state(edge) == before
    subprocess.run([*inside, "umount", "-l", target], check=True)
    edge.ctl("reload")
    time.sleep(1.5)  # no retry brings it into force unconfirmed
    assert state(edge) == before
    assert "EROFS" in settings(edge)["rps"]["reason"]
    answer = json.loads(edge.ctl("apply", "--confirm", "60s", "--json").stdout)
    edge.ctl("confirm", answer["confirm"]["id"])
    edge.wait_state("lan0", "in-sync")


def test_of_two_cards_that_which_failed_is_rolled_back_and_the_other_waits(edge: Lab) -> None:
    edge.ctl("pause")
    edge.profile("edge", NEW.replace("name: lan0", 'name: ["lan0", "peer0"]'))
    edge.ctl("reload")
    assert edge.daemon
    stand_in = edge.directory / "stand-in"
    stand_in.write_text("0\n")
    inside = ("nsenter", "-t", str(edge.daemon.pid), "-m")
    target = f"{QUEUES}/tx-1/xps_cpus".replace("lan0", "peer0")
    subprocess.run([*inside, "mount", "--bind", str(stand_in), target], check=True)
    subprocess.run([*inside, "mount", "-o", "remount,ro,bind", target], check=True)
    said = refused(edge, "apply", "--confirm", "60s")
    assert "peer0 xps tx-1" in said
    id = pending(edge).partition(":")[0]
    assert f"the other cards wait: `netunedctl confirm {id}`" in said
    assert pending(edge).startswith(f"{id}: lan0, until")
    edge.ctl("confirm", id)
    edge.wait_state("lan0", "in-sync")
    assert edge.attribute("peer0", "rx-0", "rps_cpus") == "0"


def test_what_cannot_be_kept_on_disk_is_not_tried(edge: Lab) -> None:
    before = state(edge)
    edge.ctl("pause")
    edge.profile("edge", NEW)
    edge.ctl("reload")
    (edge.directory / "state").rename(edge.directory / "away")
    (edge.directory / "state").write_text("")
    assert "confirm.json" in refused(edge, "apply", "--confirm", "5s")
    assert state(edge) == before
    assert pending(edge) == ""
    assert edge.card("lan0")["state"] == "paused"
    (edge.directory / "state").unlink()
    (edge.directory / "away").rename(edge.directory / "state")
    edge.ctl("apply", "--confirm", "60s")
    assert state(edge) != before


@pytest.mark.parametrize("late", [True, False])
def test_the_clock_survives_a_kill(edge: Lab, late: bool) -> None:
    before = state(edge)
    id = trial(edge, "3s" if late else "6s")
    tried = state(edge)
    edge.stop(signal.SIGKILL)
    if late:
        time.sleep(3)
        edge.start(wait=False)
        edge.wait(lambda: state(edge) == before, "the rollback")
        log = edge.logged()
        assert log.index("Rolling back") > 0
        edge.wait(lambda: edge.ctl("status", check=False).returncode == 0, "D-Bus")
    else:
        edge.start()
        assert id in pending(edge)
        assert state(edge) == tried
        edge.wait(lambda: not pending(edge), "the rollback")
    assert state(edge) == before
    edge.wait_state("lan0", "drifted")
    edge.stop(signal.SIGKILL)
    edge.start()
    edge.wait_state("lan0", "drifted")
    assert state(edge) == before


def test_time_in_suspend_counts(edge: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon whose CLOCK_BOOTTIME went on for an hour: as after one in suspend."""
    before = state(edge)
    trial(edge, "1h")
    assert state(edge) != before
    edge.stop(signal.SIGKILL)
    slept = ("unshare", "--time", "--boottime", "3600", "--")
    monkeypatch.setattr(edge, "command", lambda *words: Lab.command(edge, *slept, *words))
    edge.start()
    assert "it was over while netuned did not run" in edge.logged()
    assert pending(edge) == ""
    assert state(edge) == before


@pytest.mark.parametrize("ms", [0, 40, 100])
def test_a_kill_while_it_is_applied_or_rolled_back_leaves_nothing(edge: Lab, ms: int) -> None:
    before = state(edge)
    edge.ctl("pause")
    edge.profile("edge", NEW)
    edge.ctl("reload")
    with begun(edge, "apply", "--confirm", "60s") as client:
        edge.wait((edge.directory / "state" / "confirm.json").exists, "the trial")
        time.sleep(ms / 1000)
        edge.stop(signal.SIGKILL)
        client.wait(10)
    edge.start()
    if pending(edge):  # it was done: nobody says so, but it may be confirmed
        with begun(edge, "rollback") as client:
            file = edge.directory / "state" / "confirm.json"
            edge.wait(lambda: '"over": true' in file.read_text(), "the rollback")
            time.sleep(ms / 4000)
            edge.stop(signal.SIGKILL)
            client.wait(10)
        edge.start()
    edge.wait(lambda: not pending(edge), "the end of the trial")
    assert state(edge) == before
    edge.ctl("reload")
    time.sleep(0.1)
    assert state(edge) == before
    edge.ctl("resume")  # the pause may have outlasted it
    edge.ctl("apply")
    assert state(edge) != before


def test_confirm_after_a_kill(edge: Lab) -> None:
    id = trial(edge, "5s")
    tried = state(edge)
    edge.stop(signal.SIGKILL)
    edge.start()
    edge.ctl("confirm", id)
    time.sleep(5)
    assert state(edge) == tried
    edge.wait_state("lan0", "in-sync")


def test_another_boot_confirms_nothing(edge: Lab) -> None:
    trial(edge)
    edge.stop(signal.SIGKILL)
    tried = state(edge)
    path = edge.directory / "state" / "confirm.json"
    data = json.loads(path.read_text())
    content = {"boot_id": "earlier", "trials": data["trials"], "holds": data["holds"]}
    head = {"version": data["version"], "checksum": checksum(content)}
    path.write_text(json.dumps({**head, **content}))
    edge.start()
    edge.wait_state("lan0", "in-sync")
    assert pending(edge) == ""
    assert state(edge) == tried  # this "boot" began with it: nothing is there to be put back
    edge.shell(f"echo 2 > {QUEUES}/rx-0/rps_cpus")
    edge.wait_state("lan0", "drifted")
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "2"  # nor is it brought into force


def test_confirm_timeout_makes_every_drop_a_trial(edge: Lab) -> None:
    before = state(edge)
    put(edge.directory / "netuned.yaml", "confirm_timeout: 2s\n")
    edge.profile("edge", NEW)
    edge.wait(lambda: pending(edge), "a trial")
    edge.wait(lambda: not pending(edge), "its end")
    assert state(edge) == before
    edge.profile("edge", NEW + "priority: 60\n")
    edge.wait(lambda: pending(edge), "another trial")
    edge.wait_state("lan0", "in-sync")
    tried = state(edge)
    edge.ctl("confirm", pending(edge).partition(":")[0])
    (edge.profiles / "edge.yaml").unlink()
    edge.wait(lambda: pending(edge), "a trial of the removal")
    edge.wait(lambda: not pending(edge), "its end")
    assert state(edge) == tried
    put(edge.directory / "netuned.yaml", "confirm_timeout: 5\n")
    done = edge.ctl("reload", check=False)
    assert "netuned.yaml:1:18: confirm_timeout" in done.stderr


@contextmanager
def read_again(lab: Lab) -> Iterator[None]:
    """Files are read for what happens meanwhile, by its event: nobody asks for it."""
    before = lab.status()["manager"]["loaded_at"]
    yield
    lab.wait(lambda: lab.status()["manager"]["loaded_at"] != before, "that files are read")


@pytest.mark.parametrize(
    "place", ["netuned.yaml", "netuned.yaml.d/50-fleet.yaml", "netuned.yaml.d/x.conf"]
)
def test_settings_count_when_they_come_change_and_go(edge: Lab, place: str) -> None:
    path = edge.directory / place
    if not path.parent.exists():
        with read_again(edge):
            path.parent.mkdir(mode=0o755)
    with read_again(edge):
        put(path, "confirm_timeout: 1h\n")
    edge.profile("edge", NEW)
    edge.wait(lambda: pending(edge), "a trial")
    edge.wait_state("lan0", "in-sync")
    edge.ctl("confirm", pending(edge).partition(":")[0])
    with read_again(edge):
        put(path, "confirm_timeout: 5\n")
    (problem,) = edge.status()["manager"]["problems"]
    assert problem.startswith(f"{path}:1:18: confirm_timeout")
    with read_again(edge):
        path.unlink()
    assert edge.status()["manager"]["problems"] == []
    edge.profile("edge", OLD)
    edge.wait(lambda: edge.attribute("lan0", "rx-0", "rps_cpus") == "1", "the old profile")
    assert pending(edge) == ""


def test_restore_puts_back_and_leaves_alone(lab: Lab) -> None:
    before = state(lab)
    lab.profile("edge", NEW)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    tried = state(lab)
    assert tried != before
    lab.ctl("restore", "lan0", "rps")
    assert lab.attribute("lan0", "rx-0", "rps_cpus") == "0"
    lab.wait_state("lan0", "drifted")
    assert {name: s["state"] for name, s in settings(lab).items()}["qdisc"] == "in-sync"
    assert "netunedctl apply lan0" in settings(lab)["rps"]["reason"]
    lab.ctl("restore")
    assert state(lab) == before
    lab.stop(signal.SIGKILL)
    lab.start()
    lab.wait_state("lan0", "drifted")
    lab.ctl("reload")
    assert state(lab) == before
    lab.ctl("apply", "lan0")
    assert state(lab) == tried
    lab.ctl("restore", "lan0")
    assert state(lab) == before
    lab.profile("edge", NEW + "priority: 60\n")
    lab.wait(lambda: state(lab) == tried, "the changed profile")
    assert "there is no setting named nonsense" in refused(lab, "restore", "lan0", "nonsense")


def test_a_rollback_leaves_on_record_what_was_before_netuned() -> None:
    with Lab() as lab:
        lab.add_pair("lan0", "peer0", queues=4)
        untouched = state(lab)
        lab.profile("edge", OLD)
        lab.start()
        lab.wait_state("lan0", "in-sync")
        trial(lab)
        lab.ctl("rollback")
        lab.wait(lambda: not pending(lab), "the rollback")
        lab.ctl("restore", "lan0")
        assert state(lab) == untouched


def test_of_three_at_once_one_is_begun(edge: Lab) -> None:
    before = state(edge)
    edge.ctl("pause")
    edge.profile("edge", NEW)
    edge.ctl("reload")
    with (
        begun(edge, "apply", "--confirm", "60s") as first,
        begun(edge, "apply", "--confirm", "60s") as second,
        begun(edge, "apply", "--confirm", "60s") as third,
    ):
        done = [client.wait(30) for client in (first, second, third)]
    assert sorted(done) == [0, 1, 1]
    assert pending(edge).count("until") == 1
    edge.ctl("rollback")
    edge.wait(lambda: not pending(edge), "the rollback")
    assert state(edge) == before


def test_a_rollback_that_fails_is_said_to_until_it_is_done(edge: Lab) -> None:
    """A read-only bind mount over one queue's file stands for a driver that refuses it."""
    before = state(edge)
    id = trial(edge)
    assert edge.daemon
    stand_in = edge.directory / "stand-in"
    stand_in.write_text("3\n")
    inside = ("nsenter", "-t", str(edge.daemon.pid), "-m")
    target = f"{QUEUES}/rx-1/rps_cpus"
    subprocess.run([*inside, "mount", "--bind", str(stand_in), target], check=True)
    subprocess.run([*inside, "mount", "-o", "remount,ro,bind", target], check=True)
    assert "EROFS" in refused(edge, "rollback")
    for words in (("rollback",), ("rollback", id)):
        said = refused(edge, *words)
        assert f"{id} is being rolled back, not done yet" in said
        assert "EROFS" in said
    assert "too late" in refused(edge, "confirm", id)
    reason = settings(edge)["rps"]["reason"]
    assert "being rolled back" in reason
    assert "EROFS" in reason
    assert "EROFS" in pending(edge)
    subprocess.run([*inside, "umount", "-l", target], check=True)
    edge.wait(lambda: not pending(edge), "the rollback", timeout_s=20)
    assert state(edge) == before


def test_a_disk_that_takes_nothing_holds_up_no_rollback(edge: Lab) -> None:
    before = state(edge)
    id = trial(edge)
    (edge.directory / "state").rename(edge.directory / "away")
    (edge.directory / "state").write_text("")
    edge.ctl("rollback", id)
    assert state(edge) == before
    assert pending(edge) == ""
    assert "somebody has changed it" not in edge.logged()
    assert "confirm.json" in edge.logged()
    edge.ctl("reload")
    assert state(edge) == before
    (edge.directory / "state").unlink()
    (edge.directory / "away").rename(edge.directory / "state")
    kept = edge.directory / "state" / "confirm.json"
    edge.wait(lambda: not json.loads(kept.read_text())["trials"], "the file", timeout_s=20)
    edge.stop(signal.SIGKILL)
    edge.start()
    assert pending(edge) == ""
    assert state(edge) == before


@pytest.mark.parametrize("stopped", [False, True])
def test_a_card_that_comes_back_is_not_given_what_was_not_confirmed(
    edge: Lab, stopped: bool
) -> None:
    id = trial(edge)
    if stopped:
        edge.stop()
    edge.run("ip", "link", "del", "lan0")
    edge.add_pair("lan0", "peer0", queues=4)
    untouched = state(edge)
    if stopped:
        edge.start()
    time.sleep(0.5)
    edge.ctl("reload")
    assert id in pending(edge)
    assert id in refused(edge, "apply", "--confirm", "60s", "lan0")
    assert state(edge) == untouched
    edge.ctl("rollback")
    assert pending(edge) == ""
    edge.ctl("reload")
    time.sleep(0.3)
    assert state(edge) == untouched
    assert id in settings(edge)["rps"]["reason"]
    edge.stop()
    edge.start()
    assert state(edge) == untouched
    edge.ctl("apply", "lan0")
    edge.wait_state("lan0", "in-sync")
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "3"


def test_a_card_that_comes_back_under_another_number_is_rolled_back(edge: Lab) -> None:
    before = state(edge)
    trial(edge)
    tried, number = state(edge), edge.card("lan0")["ifindex"]
    with Lab() as other:
        edge.run("ip", "link", "set", "lan0", "netns", other.namespace)
        edge.wait(lambda: not edge.card("lan0"), "the card to leave")
        edge.run("ip", "link", "add", "x0", "index", str(number), "type", "veth", "peer", "x1")
        other.run("ip", "link", "set", "lan0", "netns", edge.namespace)
        edge.run("ip", "link", "set", "lan0", "up")
        edge.wait(lambda: edge.card("lan0"), "the card to come back")
    assert edge.card("lan0")["ifindex"] != number
    assert "rps_cpus:3" in tried
    assert "rps_cpus:3" in state(edge)
    edge.ctl("rollback")
    assert pending(edge) == ""
    assert state(edge).split("\n", 1)[1] == before.split("\n", 1)[1]  # qdiscs ended with the move
    edge.wait_state("lan0", "drifted")
    assert "rolled back" in settings(edge)["rps"]["reason"]


def test_what_was_rolled_back_stays_so_on_a_card_that_comes_back(edge: Lab) -> None:
    trial(edge)
    edge.ctl("rollback")
    edge.stop()
    edge.run("ip", "link", "del", "lan0")
    edge.add_pair("lan0", "peer0", queues=4)
    untouched = state(edge)
    edge.start()
    time.sleep(0.3)
    assert state(edge) == untouched
    edge.run("ip", "link", "del", "lan0")
    edge.add_pair("lan0", "peer0", queues=4)
    time.sleep(0.5)
    edge.ctl("reload")
    assert state(edge) == untouched


class SlowedLab(Lab):
    """Two cards whose drivers are slow, or fail, as long as somebody says so."""

    module = "tests.netns.slowed"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "SLOWED": str(self.directory)}

    def say(self, word: str) -> None:
        (self.directory / word).touch()

    def unsay(self, word: str) -> None:
        (self.directory / word).unlink()

    def masks(self) -> list[str]:
        return [self.attribute(name, "rx-0", "rps_cpus") for name in ("lan0", "peer0")]

    def tried(self, timeout: str, *words: str) -> subprocess.Popen[str]:
        """netunedctl that applies a new profile to both, in the background, once it waits."""
        self.ctl("pause")
        self.profile("edge", BOTH.replace("0}", "0-1}"))
        self.ctl("reload")
        for word in words:
            self.say(word)
        command = [sys.executable, "-m", "netuned.cli", "apply", "--confirm", timeout]
        pipe = subprocess.PIPE
        started = subprocess.Popen(
            command, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
        self.wait(lambda: self.masks()[0] == "3", "the first card's change")
        return started


BOTH = """\
match:
  - {kind: veth, name: [lan0, peer0]}
rps: {cpus: 0}
"""


@pytest.fixture
def slowed() -> Iterator[SlowedLab]:
    with SlowedLab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.profile("edge", BOTH)
        made.start()
        for name in ("lan0", "peer0"):
            made.wait_state(name, "in-sync")
        yield made


@pytest.mark.parametrize("word", ["before-peer0", "after-peer0", "after-lan0"])
def test_what_is_rolled_back_while_it_is_applied_stays_so(slowed: SlowedLab, word: str) -> None:
    client = slowed.tried("60s", word)
    asked = begun(slowed, "rollback")
    slowed.wait(lambda: "Rolling back" in slowed.logged(), "the rollback")
    time.sleep(0.3)
    if word != "after-lan0":
        assert slowed.masks()[0] == "1"
        slowed.shell(f"echo 2 > {QUEUES}/rx-1/rps_cpus")  # an event is no reason to apply it again
    slowed.unsay(word)
    assert client.wait(20) == 1
    assert client.stdout is not None
    assert "was rolled back meanwhile" in client.stdout.read()
    assert asked.wait(20) == 0
    assert pending(slowed) == ""
    slowed.ctl("reload")
    time.sleep(1.5)  # no retry either
    assert slowed.masks() == ["1", "1"]
    slowed.ctl("apply")
    assert slowed.masks() == ["3", "3"]


def test_a_drop_that_is_applied_too_late_for_its_trial_is_not(slowed: SlowedLab) -> None:
    put(slowed.directory / "netuned.yaml", "confirm_timeout: 1s\n")
    slowed.say("before-lan0")
    slowed.profile("edge", BOTH.replace("0}", "0-1}"))
    slowed.wait(lambda: slowed.masks()[1] == "3", "the other card's change")
    time.sleep(1.2)
    slowed.unsay("before-lan0")
    slowed.wait(lambda: not pending(slowed), "the end of the trial")
    time.sleep(1.5)
    assert slowed.masks() == ["1", "1"]
    for name in ("lan0", "peer0"):
        slowed.wait_state(name, "drifted")


def test_a_failed_card_that_cannot_be_rolled_back_keeps_no_other_from_it(
    slowed: SlowedLab,
) -> None:
    client = slowed.tried("60s", "fail-peer0")
    assert client.wait(20) == 1
    assert client.stdout is not None
    assert "the other cards wait" in client.stdout.read()
    waiting = pending(slowed)
    assert "peer0, being rolled back" in waiting
    (id,) = (part.partition(":")[0] for part in waiting.split("; ") if "lan0" in part)
    slowed.ctl("confirm", id)
    slowed.unsay("fail-peer0")
    slowed.wait(lambda: not pending(slowed), "the rollback")
    assert slowed.masks() == ["3", "1"]
    slowed.wait_state("lan0", "in-sync")


def test_a_disk_that_fails_meanwhile_leaves_a_trial_to_confirm(slowed: SlowedLab) -> None:
    client = slowed.tried("60s", "before-peer0")
    (slowed.directory / "state").rename(slowed.directory / "away")
    (slowed.directory / "state").write_text("")
    slowed.unsay("before-peer0")
    assert client.wait(20) == 1
    (slowed.directory / "state").unlink()
    (slowed.directory / "away").rename(slowed.directory / "state")
    (id,) = (part.partition(":")[0] for part in pending(slowed).split("; ") if "lan0" in part)
    slowed.ctl("confirm", id)
    assert slowed.masks() == ["3", "1"]


def test_a_restore_that_cannot_be_kept_is_none(edge: Lab) -> None:
    wanted = state(edge)
    (edge.directory / "state").rename(edge.directory / "away")
    (edge.directory / "state").write_text("")
    assert "confirm.json" in refused(edge, "restore", "lan0")
    (edge.directory / "state").unlink()
    (edge.directory / "away").rename(edge.directory / "state")
    edge.ctl("reload")
    edge.shell(f"echo 2 > {QUEUES}/rx-0/rps_cpus")
    edge.wait(lambda: state(edge) == wanted, "the repair")
