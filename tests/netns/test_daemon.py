"""The daemon on real veth cards: what it brings into force, keeps so, and leaves as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

QUEUES = "/sys/class/net/lan0/queues"
ANSWER = """
import socket, time
from netuned.kernel.ethtool import Ethtool
ethtool, card = Ethtool(), socket.if_nametoindex("lan0")
print(flush=True)
until = time.monotonic() + 20
while time.monotonic() < until:
    if ethtool.channels(card).tx == 4:
        ethtool.set_channels(card, tx=3)
        break
"""
"""Answers the first write of all channels at once."""
EDGE = """\
match:
  - {kind: veth, name: lan0}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 500}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        yield made


@pytest.fixture
def edge(lab: Lab) -> Lab:
    """The daemon with one card in force."""
    lab.profile("edge", EDGE)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    return lab


def qdiscs(lab: Lab, ifname: str = "lan0") -> list[str]:
    """Kinds, root first."""
    found = json.loads(lab.shell(f"tc -j qdisc show dev {ifname}"))
    return [
        q["kind"] for q in sorted(found, key=lambda q: (not q.get("root"), q.get("parent", "")))
    ]


def kernel_state(lab: Lab, ifname: str = "lan0") -> str:
    """All that netuned can set on a veth card, as the kernel shows it (qdisc handles aside)."""
    masks = lab.shell(
        f"cd /sys/class/net/{ifname}/queues; grep -H . rx-*/rps_cpus tx-*/xps_cpus; "
        f"ethtool -l {ifname} | tail -5"
    )
    return masks + str(qdiscs(lab, ifname))


def writes(lab: Lab) -> int:
    count: int = lab.status()["manager"]["writes"]
    return count


def test_a_dropped_profile_takes_effect(lab: Lab) -> None:
    lab.shell("ethtool -L lan0 rx 1 tx 1")
    lab.start()
    assert lab.card("lan0")["state"] == "unmanaged"
    lab.profile("edge", EDGE)
    lab.wait_state("lan0", "in-sync")
    assert [lab.attribute("lan0", f"rx-{n}", "rps_cpus") for n in range(4)] == ["3"] * 4
    assert [lab.attribute("lan0", f"tx-{n}", "xps_cpus") for n in range(4)] == ["1", "2", "0", "0"]
    assert qdiscs(lab) == ["mq"] + ["pfifo"] * 4
    settings = {s["tunable"]: s["state"] for s in lab.card("lan0")["settings"]}
    assert settings == dict.fromkeys(("channels", "rps", "xps", "qdisc"), "in-sync")


def test_a_second_pass_writes_nothing(edge: Lab) -> None:
    before = writes(edge)
    edge.ctl("apply")
    edge.ctl("reload")
    time.sleep(0.2)
    assert writes(edge) == before
    assert edge.ctl("plan", "--exit-code").returncode == 0


@pytest.mark.parametrize(("queue", "file"), [("rx-2", "rps_cpus"), ("tx-1", "xps_cpus")])
def test_a_foreign_write_is_put_back(edge: Lab, queue: str, file: str) -> None:
    path = f"{QUEUES}/{queue}/{file}"
    printed = [
        edge.run(sys.executable, "-m", "tests.netns.breaker", path, "1").stdout for _ in range(3)
    ]
    # the lowest: other work on this machine is not netuned's latency
    assert min(float(text.split()[0]) for text in printed) < 100
    assert f"Repaired lan0 {file[:3]} {queue}" in edge.logged()


@pytest.mark.parametrize(
    "command",
    [
        "tc qdisc replace dev lan0 root bfifo",
        "tc qdisc del dev lan0 root",
        "tc qdisc del dev lan0 parent 4e54:2",
        "tc qdisc replace dev lan0 parent 4e54:3 bfifo",
        "tc qdisc replace dev lan0 parent 4e54:2 pfifo limit 3",
        "ethtool -L lan0 rx 2 tx 1",
        "ip link set lan0 down; ip link set lan0 up",
    ],
)
def test_other_tools_are_undone(edge: Lab, command: str) -> None:
    before = kernel_state(edge)
    edge.shell(command)
    edge.wait(lambda: kernel_state(edge) == before, f"the state before {command!r}")
    edge.wait_state("lan0", "in-sync")
    what = "channels" if "ethtool" in command else "qdisc"
    assert f"Repaired lan0 {what}" in edge.logged() or "ip link" in command


def test_queues_that_went_and_came_back_are_still_watched(edge: Lab) -> None:
    edge.shell("ethtool -L lan0 rx 1 tx 1")
    edge.wait_state("lan0", "in-sync")
    edge.wait(lambda: "Repaired lan0 channels" in edge.logged(), "the repair")
    edge.wait_state("lan0", "in-sync")
    edge.run(sys.executable, "-m", "tests.netns.breaker", f"{QUEUES}/rx-3/rps_cpus", "1")


def test_a_removed_profile_puts_everything_back(lab: Lab) -> None:
    lab.shell("ethtool -L lan0 rx 2 tx 2; echo 2 > /sys/class/net/lan0/queues/rx-1/rps_cpus")
    before = kernel_state(lab)
    lab.start()
    path = lab.profile("edge", EDGE)
    lab.wait_state("lan0", "in-sync")
    assert kernel_state(lab) != before
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    assert kernel_state(lab) == before


def test_leaves_of_an_own_mq_come_back(lab: Lab) -> None:
    lab.shell("tc qdisc replace dev lan0 root handle 7: mq")
    lab.shell("tc qdisc replace dev lan0 parent 7:2 bfifo limit 9000")
    before = lab.shell("tc qdisc show dev lan0 | sed 's/pfifo_fast [0-9a-f]*:/pfifo_fast/' | sort")
    path = lab.profile("edge", EDGE)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    after = lab.shell("tc qdisc show dev lan0 | sed 's/pfifo_fast [0-9a-f]*:/pfifo_fast/' | sort")
    assert [line.split(":", 1)[1] for line in after.splitlines() if "bfifo" in line] == [
        line.split(":", 1)[1] for line in before.splitlines() if "bfifo" in line
    ]
    assert after.count("pfifo_fast") == before.count("pfifo_fast") == 3


def test_a_removed_key_puts_its_setting_back(edge: Lab) -> None:
    edge.profile("edge", EDGE.replace("rps: {cpus: 0-1}\n", ""))
    edge.wait(lambda: edge.attribute("lan0", "rx-0", "rps_cpus") == "0", "rps off again")
    assert qdiscs(edge)[0] == "mq"


def test_a_broken_profile_changes_nothing(edge: Lab) -> None:
    before, count = kernel_state(edge), writes(edge)
    edge.profile("edge", EDGE.replace("pfifo", "pfifoo") + "chanels: 3\n")
    edge.wait(lambda: len(edge.status()["manager"]["profile_errors"]) == 2, "two errors")
    first, second = edge.status()["manager"]["profile_errors"]
    assert "edge.yaml:6:" in first
    assert "qdisc" in first
    assert "edge.yaml:7:1: chanels" in second
    assert edge.card("lan0")["state"] == "in-sync"
    assert (kernel_state(edge), writes(edge)) == (before, count)
    edge.shell("echo 1 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
    edge.wait(lambda: edge.attribute("lan0", "rx-0", "rps_cpus") == "3", "the last good version")


def test_a_writable_profile_is_refused(edge: Lab) -> None:
    (edge.profiles / "edge.yaml").chmod(0o666)
    edge.wait(lambda: edge.status()["manager"]["profile_errors"], "an error")
    assert "chmod" in edge.status()["manager"]["profile_errors"][0]


def test_two_profiles_for_one_card(edge: Lab) -> None:
    edge.profile("more", EDGE.replace("0-1", "1") + "priority: 60\n")
    edge.wait(lambda: edge.card("lan0")["profile"] == "more", "the higher priority")
    edge.wait(lambda: edge.attribute("lan0", "rx-0", "rps_cpus") == "2", "its value")
    edge.profile("more", EDGE + "priority: 50\n")
    edge.wait(lambda: edge.card("lan0")["profile"] == "edge", "the first name")
    (conflict,) = edge.status()["manager"]["conflicts"]
    assert "edge" in conflict
    assert "more" in conflict


def test_a_profile_for_an_absent_card_waits_for_it(edge: Lab) -> None:
    edge.profile("later", EDGE.replace("lan0", "wan0"))
    edge.add_pair("wan0", "peer1", queues=2)
    edge.wait_state("wan0", "in-sync")
    assert qdiscs(edge, "wan0") == ["mq", "pfifo", "pfifo"]


def test_cards_that_leave_are_forgotten_and_renamed_ones_followed(edge: Lab) -> None:
    edge.shell("ip link set lan0 down; ip link set lan0 name lan7; ip link set lan7 up")
    edge.wait(lambda: edge.card("lan7"), "the new name")
    edge.wait_state("lan7", "unmanaged")
    edge.shell("ip link set lan7 down; ip link set lan7 name lan0; ip link set lan0 up")
    edge.wait_state("lan0", "in-sync")
    with Lab() as other:
        edge.shell(f"ip link set lan0 netns {other.namespace}")
        edge.wait(lambda: not edge.card("lan0"), "that it left")
    assert edge.daemon
    assert edge.daemon.poll() is None
    assert "Traceback" not in edge.logged()


def test_kill_and_start_again_converges_and_still_restores(lab: Lab) -> None:
    before = kernel_state(lab)
    path = lab.profile("edge", EDGE)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    wanted = kernel_state(lab)
    lab.stop(signal.SIGKILL)
    lab.shell("echo 0 > /sys/class/net/lan0/queues/rx-1/rps_cpus")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    assert kernel_state(lab) == wanted
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    assert kernel_state(lab) == before


def test_stopping_leaves_settings_as_they_are(edge: Lab) -> None:
    before = kernel_state(edge)
    assert edge.stop() < 2
    assert kernel_state(edge) == before


def test_sighup_reloads(edge: Lab) -> None:
    assert edge.daemon
    edge.daemon.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert edge.card("lan0")["state"] == "in-sync"
    assert edge.daemon.poll() is None


def test_without_a_bus_profiles_are_applied_all_the_same(lab: Lab) -> None:
    lab.profile("edge", EDGE)
    lab.start(bus=False)
    lab.wait(lambda: lab.attribute("lan0", "rx-0", "rps_cpus") == "3", "the profile")


def test_a_link_that_nobody_asks_for_is_tuned_once_somebody_does(lab: Lab) -> None:
    """By a new name, by a profile; put back also where the daemon did not see that one go."""
    lab.add_pairs([(f"c{number}", f"d{number}") for number in range(20)], queues=1)
    lab.shell("echo 1 > /sys/class/net/c5/queues/rx-0/rps_cpus")
    lab.profile("edge", "match: [{kind: veth, name: 'a*'}]\nrps: {cpus: 1}\n")
    lab.start()
    lab.wait(lambda: len(lab.status()["nics"]) == 42, "all of them")
    assert {nic["state"] for nic in lab.status()["nics"]} == {"unmanaged"}
    assert lab.card("c7")["driver"] == "veth"
    lab.shell("ip link set c7 down; ip link set c7 name a7; ip link set a7 up")
    lab.wait_state("a7", "in-sync")
    assert lab.attribute("a7", "rx-0", "rps_cpus") == "2"
    path = lab.profile("more", "match: [{kind: veth, name: c5}]\nrps: {cpus: 1}\n")
    lab.wait_state("c5", "in-sync")
    assert lab.attribute("c5", "rx-0", "rps_cpus") == "2"
    lab.stop(signal.SIGKILL)
    path.unlink()
    lab.start()
    lab.wait(lambda: lab.attribute("c5", "rx-0", "rps_cpus") == "1", "what was there before")
    lab.shell("ip link del c9; ip link set c8 down; ip link set c8 up")
    lab.wait(lambda: not lab.card("c9"), "that it left")
    lab.ctl("restore")
    assert lab.attribute("a7", "rx-0", "rps_cpus") == "0"


def test_an_unset_feature_is_unsupported_and_the_rest_in_force(edge: Lab) -> None:
    edge.profile("edge", EDGE + "rss: {queues: all}\nirq: {spread: one-per-queue}\n")
    edge.wait(lambda: len(edge.card("lan0")["settings"]) == 6, "six settings")
    states = {s["tunable"]: s for s in edge.card("lan0")["settings"]}
    assert states["rss"]["state"] == "unsupported"
    assert "veth" in states["rss"]["reason"]
    edge.wait_state("lan0", "partial")


def test_observing_repairs_nothing(edge: Lab) -> None:
    edge.profile("edge", EDGE + "policy: {enforce: no}\n")
    edge.wait_state("lan0", "observed")
    edge.shell("echo 1 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
    edge.wait_state("lan0", "drifted")
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "1"
    assert edge.ctl("status", "--exit-code", check=False).returncode == 3
    assert edge.ctl("plan", "--exit-code", check=False).returncode == 3


def test_a_denied_disruption_is_reported_and_not_made(lab: Lab) -> None:
    lab.shell("ethtool -L lan0 rx 2 tx 2")
    lab.profile("edge", EDGE + "policy: {disruptive: deny}\n")
    lab.start()
    lab.wait_state("lan0", "partial")
    channels = lab.card("lan0")["settings"][0]
    assert channels["state"] == "withheld"
    assert "deny" in channels["reason"]
    assert "2 rx + 2 tx" in channels["found"]
    assert lab.ctl("status", "--exit-code", check=False).returncode == 3
    assert "withheld: channels" in lab.ctl("status").stdout
    plan = lab.ctl("plan", "--exit-code", check=False)
    assert plan.returncode == 3
    assert "Withheld by policy.disruptive: deny" in plan.stdout
    assert "Nothing to do" not in plan.stdout + lab.ctl("apply").stdout
    (withheld,) = json.loads(lab.ctl("plan", "--json").stdout)["withheld"]
    assert withheld["before_value"] == {"rx": 2, "tx": 2}
    assert withheld["after_value"] == {"rx": 4, "tx": 4}
    offline = lab.ctl("plan", "--json", "--profiles", str(lab.profiles), inside=True)
    assert json.loads(offline.stdout)["withheld"] == [withheld]


def setting(lab: Lab, tunable: str) -> dict[str, Any]:
    """One setting as ``netunedctl status --json`` has it."""
    card = json.loads(lab.ctl("status", "lan0", "--json").stdout)
    found: dict[str, Any] = next(s for s in card["settings"] if s["tunable"] == tunable)
    return found


def test_values_are_typed_and_what_was_done_is_counted(edge: Lab) -> None:
    rps, qdisc = setting(edge, "rps"), setting(edge, "qdisc")
    assert rps["wanted_values"] == rps["found_values"] == {f"rx-{n}": [0, 1] for n in range(4)}
    assert setting(edge, "channels")["found_values"] == {"": {"rx": 4, "tx": 4}}
    assert (qdisc["found_values"]["tx-0"], qdisc["wanted_values"]["tx-0 pfifo limit"]) == (
        *("pfifo", 500),
    )
    assert (rps["writes"], rps["repairs"], rps["failures"]) == (4, 0, 0)
    assert rps["last_change"]["cause"] == "profile"

    edge.shell(f"echo 1 > {QUEUES}/rx-2/rps_cpus")
    edge.wait(lambda: setting(edge, "rps")["repairs"] == 1, "the repair")
    rps = setting(edge, "rps")
    assert (rps["writes"], rps["failures"]) == (5, 0)
    last = rps["last_change"]
    assert (last["key"], last["cause"]) == ("rx-2", "drift")
    assert (last["before"], last["after"]) == ("0", "0-1")
    assert (last["before_value"], last["after_value"]) == ([0], [0, 1])
    assert setting(edge, "xps")["repairs"] == 0

    card = json.loads(edge.ctl("status", "lan0", "--json").stdout)
    path = f"/org/netuned1/nic/{card['ifindex']}"
    words = ("get-property", "org.netuned1", path, "org.netuned1.Nic", "Settings")
    text = edge.run("busctl", "--json=short", *words).stdout
    shown = json.loads(text)["data"]["rps"]
    assert shown["FoundValues"]["data"]["rx-0"] == {"type": "au", "data": [0, 1]}
    assert (shown["Repairs"]["data"], shown["Writes"]["data"]) == (1, 5)
    assert shown["LastChange"]["data"]["AfterValue"] == {"type": "au", "data": [0, 1]}


def test_paused_cards_are_left_alone(edge: Lab) -> None:
    edge.ctl("pause", "lan0")
    edge.shell("echo 1 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
    time.sleep(0.2)
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "1"
    assert edge.card("lan0")["state"] == "paused"
    edge.ctl("resume", "lan0")
    edge.wait(lambda: edge.attribute("lan0", "rx-0", "rps_cpus") == "3", "the repair")


@pytest.mark.parametrize("name", ["lan0", ""])
def test_a_pause_outlasts_a_restart(edge: Lab, name: str) -> None:
    edge.ctl("pause", *filter(None, [name]))
    edge.shell("echo 1 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
    edge.stop(signal.SIGKILL)
    edge.start()
    edge.wait(lambda: f"Paused as before: {name or 'all cards'}" in edge.logged(), "the line")
    assert edge.card("lan0")["state"] == "paused"
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "1"
    edge.ctl("resume")
    edge.wait(lambda: edge.attribute("lan0", "rx-0", "rps_cpus") == "3", "the repair")
    edge.stop(signal.SIGKILL)
    edge.start()
    assert edge.card("lan0")["state"] == "in-sync"


@pytest.fixture
def careful(edge: Lab) -> Lab:
    """Paused, where every other profile is to be confirmed."""
    (edge.directory / "netuned.yaml").write_text("confirm_timeout: 60s\n")
    (edge.directory / "netuned.yaml").chmod(0o644)
    edge.ctl("reload")
    edge.ctl("pause", "lan0")
    return edge


def pending(lab: Lab) -> str:
    text: str = lab.status()["manager"]["pending_confirm"]
    return text


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_restored_in_a_pause_is_left_alone_after_it(
    careful: Lab, *, restart: bool
) -> None:
    careful.profile("edge", EDGE.replace("0-1", "1"))
    careful.ctl("reload")
    careful.ctl("restore", "lan0", "rps")
    if restart:
        careful.stop(signal.SIGKILL)
        careful.start()
    refused = careful.ctl("resume", "lan0", check=False)
    assert refused.returncode == 1
    assert "a part of it was restored" in refused.stderr
    assert careful.card("lan0")["state"] == "paused"
    careful.ctl("restore", "lan0")
    before = kernel_state(careful)
    careful.ctl("resume", "lan0")
    careful.wait_state("lan0", "drifted")
    time.sleep(0.2)
    assert kernel_state(careful) == before
    assert pending(careful) == ""


def test_another_profile_within_a_pause_is_tried_after_a_restart(careful: Lab) -> None:
    careful.stop(signal.SIGKILL)
    careful.start()
    careful.ctl("resume", "lan0")
    careful.wait_state("lan0", "in-sync")
    time.sleep(0.2)
    assert pending(careful) == ""  # for nothing was changed
    careful.ctl("pause", "lan0")
    careful.stop(signal.SIGTERM)
    (careful.profiles / "edge.yaml").write_text(EDGE.replace("0-1", "1"))
    careful.start()
    assert careful.attribute("lan0", "rx-0", "rps_cpus") == "3"
    careful.ctl("resume", "lan0")
    careful.wait(lambda: pending(careful), "a trial")
    assert careful.attribute("lan0", "rx-0", "rps_cpus") == "2"
    careful.ctl("rollback")
    assert careful.attribute("lan0", "rx-0", "rps_cpus") == "3"


RENAME = "ip link set {0} down; ip link set {0} name {1}; ip link set {1} up"


@pytest.mark.parametrize("restart", [False, True])
def test_a_pause_follows_a_card_to_its_new_name(lab: Lab, *, restart: bool) -> None:
    lab.profile("edge", EDGE.replace("lan0", '"lan*"'))
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.ctl("pause", "lan0")
    lab.shell("echo 1 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
    if restart:  # the name changes while nobody looks
        lab.stop(signal.SIGKILL)
    lab.shell(RENAME.format("lan0", "lan7"))
    lab.add_pair("lan0", "peer8", queues=2)
    if restart:
        lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.wait_state("lan7", "paused")
    assert lab.attribute("lan7", "rx-0", "rps_cpus") == "1"
    lab.ctl("pause", "lan7")
    kept = json.loads((lab.directory / "run" / "paused.json").read_text())["paused"]
    assert [entry["name"] for entry in kept] == ["lan7"]
    lab.ctl("resume", "lan7")
    lab.wait(lambda: lab.attribute("lan7", "rx-0", "rps_cpus") == "3", "the repair")
    lab.wait_state("lan7", "in-sync")


def test_a_pause_is_of_a_card_that_comes_back_too(edge: Lab) -> None:
    """By its own directory where it was away, by its name where its driver made another."""
    edge.ctl("pause", "lan0")
    with Lab() as other:
        edge.shell(f"ip link set lan0 netns {other.namespace}")
        edge.wait(lambda: not edge.card("lan0"), "that it left")
        other.shell(f"ip link set lan0 netns {edge.namespace}")
    edge.wait_state("lan0", "paused")
    edge.shell("ip link del lan0")
    edge.wait(lambda: not edge.card("lan0"), "that it left")
    edge.add_pair("lan0", "peer0", queues=4)
    edge.wait_state("lan0", "paused")
    assert edge.attribute("lan0", "rx-0", "rps_cpus") == "0"
    edge.ctl("resume", "lan0")
    edge.wait_state("lan0", "in-sync")


@pytest.mark.parametrize("words", [("resume", "lan0"), ("resume",), ("apply", "--confirm", "9s")])
def test_irqbalance_is_let_go_after_a_pause(edge: Lab, words: tuple[str, ...]) -> None:
    """The daemon that told it ended within the pause, and no profile is for it any more."""
    edge.ctl("pause", *words[1:][-1:] if words[0] == "resume" else ())
    edge.stop(signal.SIGKILL)
    told = edge.directory / "run" / "irqbalance.cards"
    told.write_text("/sys/devices/pci0000:00/0000:00:04.0\n")
    edge.start()
    time.sleep(0.2)
    assert told.exists()
    edge.ctl(*words)
    edge.wait(lambda: not told.exists(), "that irqbalance is let go")


def test_what_cannot_be_told_of_a_pause_is_a_problem(edge: Lab) -> None:
    edge.ctl("pause")
    edge.stop(signal.SIGKILL)
    (edge.directory / "run" / "paused.json").write_text("{")
    edge.start()
    (problem,) = edge.status()["manager"]["problems"]
    assert "paused.json: not what netuned wrote" in problem
    edge.ctl("pause")
    (edge.directory / "run" / "paused.json").unlink()
    (edge.directory / "run" / "paused.json").mkdir()
    said = edge.ctl("pause", "lan0", check=False)
    assert said.returncode == 1
    assert "a restart will not know of it" in said.stderr


def test_an_empty_profile_directory_is_no_error(lab: Lab) -> None:
    lab.start()
    assert "No profile" in lab.ctl("status").stdout
    assert lab.ctl("status", "--exit-code").returncode == 0
    assert writes(lab) == 0


RESYNC = """
import asyncio, sys
from pathlib import Path
from netuned.kernel import Kernel
from netuned.reconcile.loop import Options, Reconciler
from tests.netns.listener import Silent

async def main():
    there = Path(sys.argv[1])
    options = Options((str(there / "profiles.d"),), there / "state", there / "run")
    loop = Reconciler(Kernel(), options, Silent())
    await loop.start()
    mask = Path("/sys/class/net/lan0/queues/rx-0/rps_cpus")
    mask.write_text("1")
    await asyncio.sleep(0.3)
    before = mask.read_text().strip()
    await loop.resync()
    await asyncio.sleep(0.3)
    print(before, mask.read_text().strip())
    await loop.close()

asyncio.run(main())
"""


def test_the_slow_resync_sees_what_raises_no_event(lab: Lab) -> None:
    lab.profile("edge", EDGE)
    printed = lab.run(sys.executable, "-c", RESYNC, str(lab.directory)).stdout
    assert printed.split() == ["1", "3"]


def test_a_refused_write_is_undone_and_not_retried_in_a_storm(lab: Lab) -> None:
    """A read-only bind mount over one queue's file stands for a driver that refuses it."""
    lab.start()
    assert lab.daemon
    target, stand_in = f"{QUEUES}/rx-2/rps_cpus", lab.directory / "stand-in"
    stand_in.write_text("0\n")
    inside = ("nsenter", "-t", str(lab.daemon.pid), "-m", "mount")
    subprocess.run([*inside, "--bind", str(stand_in), target], check=True)
    subprocess.run([*inside, "-o", "remount,ro,bind", target], check=True)
    lab.profile("edge", EDGE)
    lab.wait_state("lan0", "degraded")
    card = lab.card("lan0")
    assert "rps rx-2" in card["last_error"]
    assert "EROFS" in card["last_error"]
    assert {s["tunable"]: s["state"] for s in card["settings"]}["rps"] == "degraded"
    assert lab.attribute("lan0", "rx-0", "rps_cpus") == "0"  # what was written before is undone
    before = writes(lab)
    time.sleep(0.5)
    assert writes(lab) - before < 10
    subprocess.run(["nsenter", "-t", str(lab.daemon.pid), "-m", "umount", "-l", target], check=True)
    lab.wait_state("lan0", "in-sync")


def test_channels_that_a_driver_refuses_are_unsupported(lab: Lab) -> None:
    """tun shows channels and does not let them be set."""
    lab.shell("ip tuntap add dev tap0 mode tap multi_queue; ip link set tap0 up")
    text = EDGE.replace("kind: veth, name: lan0", "kind: tun")
    lab.profile("tun", text)
    lab.start()
    lab.wait_state("tap0", "partial")
    settings = {s["tunable"]: s["state"] for s in lab.card("tap0")["settings"]}
    assert settings["channels"] == "unsupported"
    assert settings["rps"] == settings["qdisc"] == "in-sync"
    assert qdiscs(lab, "tap0") == ["pfifo"]


def test_a_broken_profile_at_start_puts_nothing_back(edge: Lab) -> None:
    before = kernel_state(edge)
    edge.stop()
    (edge.profiles / "edge.yaml").write_text(EDGE + "chanels: 3\n")
    edge.start()
    assert len(edge.status()["manager"]["profile_errors"]) == 1
    assert kernel_state(edge) == before
    edge.profile("edge", EDGE)
    edge.wait_state("lan0", "in-sync")
    assert kernel_state(edge) == before


def test_what_was_refused_is_tried_again_with_another_value(lab: Lab) -> None:
    lab.profile("edge", EDGE.replace("{kind: pfifo, limit: 500}", "{kind: fq, flow_limit: 9}"))
    lab.start()  # partial where this kernel does not have fq
    lab.wait(lambda: lab.card("lan0")["state"] in ("in-sync", "partial"), "an end")
    lab.profile("edge", EDGE)
    lab.wait(lambda: qdiscs(lab) == ["mq"] + ["pfifo"] * 4, "pfifo")


def test_a_qdisc_with_classes_is_left_alone(lab: Lab) -> None:
    lab.shell("tc qdisc replace dev lan0 root handle 1: htb default 10")
    lab.profile("edge", EDGE)
    lab.start()
    lab.wait_state("lan0", "partial")
    assert qdiscs(lab)[0] == "htb"
    settings = {s["tunable"]: s for s in lab.card("lan0")["settings"]}
    assert settings["qdisc"]["state"] == "unsupported"
    assert "htb" in settings["qdisc"]["reason"]
    assert settings["rps"]["state"] == "in-sync"


def test_channels_beyond_the_card_are_unsupported_and_the_rest_in_force(lab: Lab) -> None:
    lab.profile("edge", EDGE.replace("combined: max", "combined: 9"))
    lab.start()
    lab.wait_state("lan0", "partial")
    settings = {s["tunable"]: s for s in lab.card("lan0")["settings"]}
    assert settings["channels"]["state"] == "unsupported"
    assert "9 is more" in settings["channels"]["reason"]
    assert lab.attribute("lan0", "rx-0", "rps_cpus") == "3"


def test_resuming_one_card_while_all_are_paused_is_refused(edge: Lab) -> None:
    edge.ctl("pause")
    refused = edge.ctl("resume", "lan0", check=False)
    assert refused.returncode == 1
    assert "all cards are paused" in refused.stderr
    edge.ctl("resume")
    edge.wait_state("lan0", "in-sync")


def test_what_somebody_set_at_once_is_not_taken_for_the_drivers(lab: Lab) -> None:
    lab.run("ethtool", "-L", "lan0", "rx", "2", "tx", "2")
    lab.start()
    words = lab.command(sys.executable, "-c", ANSWER)
    with subprocess.Popen(words, stdout=subprocess.PIPE) as somebody:
        assert somebody.stdout
        somebody.stdout.readline()
        lab.profile("edge", EDGE)
        assert somebody.wait() == 0
    shown = "ethtool -l lan0 | grep TX: | tail -1"
    lab.wait(lambda: lab.shell(shown).split() == ["TX:", "4"], "all channels", every_s=0.1)
    lab.wait_state("lan0", "in-sync")
    assert "qdisc tx-3" in lab.logged()


def test_what_is_not_to_be_seen_in_names_is_shown_by_its_number(lab: Lab) -> None:
    name = "l\u200b\u2028\u061c"
    lab.run("ip", "link", "add", name, "type", "veth", "peer", "name", "peer1")
    lab.profile("edge", EDGE.replace("name: lan0", 'name: "l*"'))
    lab.profile("wrong\u200b", "k\u2066: 1\n")
    lab.start()
    lab.wait_state(name, "in-sync")
    for words in (f"status {name}", "reload", f"explain {name}"):
        done = lab.ctl(*words.split(" "), check=False)
        for line in (done.stdout + done.stderr).split("\n"):
            assert line.isprintable(), ascii(line)
    assert r"l\u200b\u2028\u061c" in lab.ctl("status").stdout
    assert r"In force: l\u200b\u2028\u061c has profile edge" in lab.logged()
    shown = json.loads(lab.ctl("status", "--json").stdout)
    assert name in [nic["name"] for nic in shown["nics"]]
