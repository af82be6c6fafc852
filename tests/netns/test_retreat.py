"""Everything is put back without a daemon, as `make uninstall` has it, on real veth cards."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab
from tests.netns.test_rfs import HostLab

pytestmark = pytest.mark.netns

EDGE = """\
match: [{kind: veth, name: lan0}]
channels: {rx: 2, tx: 2}
rps: {cpus: 0}
rfs: {entries: 8192}
qdisc: {kind: pfifo, limit: 50}
"""

ASIDE = """
import json, sys
from pathlib import Path
from netuned.reconcile.retreat import retreat
profiles, state, run = sys.argv[1:]
done = retreat([profiles], Path(state), Path(run))
said = [problem.message for problem in done.problems]
print(json.dumps({"made": len(done.made), "said": said, "away": done.away}))
"""


@pytest.fixture
def lab() -> Iterator[HostLab]:
    with HostLab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        made.shell("ethtool -L lan0 rx 4 tx 4; echo 1 > /sys/class/net/lan0/queues/rx-3/rps_cpus")
        made.shell("tc qdisc replace dev lan0 root handle 7: mq")
        yield made


def found(lab: HostLab) -> tuple[str, ...]:
    """The state of the kernel, as others show it, but for handles of qdiscs."""
    qdiscs = lab.shell("tc qdisc show dev lan0 | sort -k 5")
    return (
        lab.shell("cat /sys/class/net/lan0/queues/*/rps_cpus"),
        lab.shell("cat /sys/class/net/lan0/queues/*/rps_flow_cnt"),
        re.sub(r"(mq|pfifo_fast|parent) [0-9a-f]+:", r"\1 :", qdiscs),
        lab.shell("ethtool -l lan0"),
        lab.table.read_text().strip(),
    )


def in_force(lab: HostLab, text: str = EDGE) -> None:
    lab.profile("edge", text)
    lab.start()
    lab.wait_state("lan0", "in-sync")


def restore(lab: HostLab, *words: str, bus: str = "") -> subprocess.CompletedProcess[str]:
    """Run what ``make uninstall`` runs."""
    state, run = lab.directory / "state", lab.directory / "run"
    places = [f"STATE_DIRECTORY={state}", f"RUNTIME_DIRECTORY={run}"]
    places += [f"DBUS_SYSTEM_BUS_ADDRESS=unix:path={bus}"] if bus else []
    program = (sys.executable, "-m", "netuned.cli", "restore", "--without-daemon", *words)
    return lab.run("env", *places, *program, check=False)


def aside(lab: HostLab) -> dict[str, Any]:
    """The same with the namespace's own profiles. Returns what was made, and said."""
    places = (lab.profiles, lab.directory / "state", lab.directory / "run")
    done = lab.run(sys.executable, "-c", ASIDE, *map(str, places))
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_all_comes_back_without_a_daemon_and_not_beside_one(lab: HostLab) -> None:
    before = found(lab)
    in_force(lab)
    tuned = found(lab)
    assert all(now != was for now, was in zip(tuned, before, strict=True))
    refused = restore(lab)
    assert refused.returncode == 1
    assert "systemctl stop netuned" in refused.stderr
    refused = restore(lab, bus="/nonexistent")  # on which no daemon is seen
    assert refused.returncode == 1
    assert "a daemon runs" in refused.stderr
    lab.stop(signal.SIGKILL)
    assert found(lab) == tuned
    done = restore(lab)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Put back:\n")
    assert found(lab) == before
    again = restore(lab)
    assert (again.returncode, again.stdout) == (
        0,
        "Nothing to put back: every setting on record is as before netuned.\n",
    )


def test_what_cannot_go_back_is_said_and_goes_back_later(lab: HostLab) -> None:
    before = found(lab)
    in_force(lab)
    lab.stop()
    lab.shell("tc qdisc replace dev lan0 root handle 10: htb default 1")
    lab.shell("tc class add dev lan0 parent 10: classid 10:1 htb rate 50mbit")
    done = restore(lab, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert {problem["ifname"] for problem in answer["problems"]} == {"lan0"}
    assert all(problem["message"].startswith("qdisc") for problem in answer["problems"])
    assert {change["why"] for change in answer["made"]} == {"as it was before netuned"}
    assert done.stderr == ""
    now = found(lab)
    assert "htb 10: root" in now[2], "nobody could make it again"
    assert now[0] == before[0]
    assert now[1] == before[1]
    assert now[3:] == before[3:]
    lab.shell("tc qdisc del dev lan0 root")
    assert restore(lab).returncode == 0
    assert found(lab) == before


def test_the_policy_forbids_here_too(lab: HostLab) -> None:
    before = found(lab)
    in_force(lab)
    lab.stop()
    path = lab.profile("edge", f"{EDGE}policy: {{disruptive: deny}}\n")
    answer = aside(lab)
    assert answer["said"]
    assert all("disruptive" in said for said in answer["said"])
    assert found(lab)[3] != before[3]
    lab.profile("edge", "what: [is this")  # it may be the card's, and may deny
    assert aside(lab)["said"] == answer["said"]
    path.unlink()
    assert aside(lab)["said"] == []
    assert found(lab) == before


def test_what_waits_to_be_confirmed_is_rolled_back_by_nobody_after_it(lab: HostLab) -> None:
    before = found(lab)
    in_force(lab)
    lab.ctl("pause", "lan0")
    lab.profile("edge", EDGE.replace("cpus: 0", "cpus: 1"))
    lab.ctl("reload")
    lab.ctl("apply", "--confirm", "60s", "lan0")
    lab.stop()
    assert aside(lab)["said"] == []
    assert found(lab) == before
    (lab.profiles / "edge.yaml").unlink()
    lab.start()
    lab.wait(lambda: lab.card("lan0"), "the card")
    assert not lab.status()["manager"]["pending_confirm"]
    assert found(lab) == before


def test_cards_that_left_and_a_record_that_is_lost_are_told_of(lab: HostLab) -> None:
    in_force(lab)
    lab.stop()
    with Lab() as other:
        lab.shell(f"ip link set lan0 netns {other.namespace}")
        done = restore(lab)
    assert done.returncode == 0
    assert "1 card on record is not in this network namespace" in " ".join(done.stdout.split())
    (lab.directory / "state/baseline.json").write_text("{}")
    for _ in range(2):  # it is set aside at the first, and that it was lost is known
        done = restore(lab)
        assert done.returncode == 1
        assert "baseline.json" in done.stdout + done.stderr
