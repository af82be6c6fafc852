"""Many hosts at once: which fare alike, the worst first; and files that tell nothing."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from netuned.cli.main import run
from netuned.errors import NetunedError
from netuned.fleet import pool
from netuned.fleet.files import STATUSES, find
from netuned.fleet.groups import folded
from netuned.kernel.recorded import File
from netuned.snapshots import snapshot
from netuned.snapshots.described import machine
from netuned.status import (
    CONTENDED,
    DRIFTED,
    IN_SYNC,
    NOT_RUNNING,
    UNMANAGED,
    ManagerStatus,
    NicStatus,
    SettingStatus,
    Status,
)

HOST = """\
nodes: 2
cores: 16
threads: 2
cards:
  - {{name: eth0, driver: {driver}, node: 0, queues: 16, maximum: 32, irqs: "{irqs}"}}
"""
EDGE = "match: [{driver: [ice, mlx5_core]}]\nirq: {spread: one-per-queue}\n"


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Path]:
    """Writes the snapshot of a host of 64 CPUs with a card of 16 queues."""
    (tmp_path / "hosts").mkdir()

    def write(name: str, driver: str = "ice", irqs: str = "8-40") -> Path:
        path = tmp_path / f"hosts/{name}.tar.xz"
        snapshot.write(snapshot.take(machine(HOST.format(driver=driver, irqs=irqs))), str(path))
        return path

    return write


@pytest.fixture
def profiles(tmp_path: Path) -> Callable[..., str]:
    """Writes a directory with one profile."""

    def write(text: str, directory: str = "new") -> str:
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "edge.yaml").write_text(text)
        return str(tmp_path / directory)

    return write


@pytest.fixture
def fleet(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Runs ``netunedctl fleet`` here, and gives its exit status and JSON."""

    def ask(*words: object) -> tuple[int, Any]:
        status = run(["fleet", *map(str, words), "--json", "--jobs", "1"])
        return status, json.loads(capsys.readouterr().out)

    return ask


def in_short(found: Any) -> list[tuple[str, list[str], bool]]:
    return [(group["kind"], group["hosts"], group["alike"]) for group in found["groups"]]


def test_hosts_that_come_to_the_same_are_one_group_wherever_their_interrupts_are(
    host: Callable[..., Path], profiles: Callable[..., str], fleet: Callable[..., tuple[int, Any]]
) -> None:
    for name, irqs in (("web1", "8-40"), ("web2", "0-63"), ("web3", "8-40")):
        host(name, irqs=irqs)
    host("old", "igb")
    directory = host("core", "mlx5_core").parent
    text = EDGE + "policy: {disruptive: allow}\nchannels: {combined: auto}\n"
    status, found = fleet("plan", directory, "--profiles", profiles(text))
    assert in_short(found) == [
        ("disruptive", ["core", "web1", "web2", "web3"], False),
        ("no profile", ["old"], True),
    ]
    assert (status, found["unread"]) == (0, [])
    changes = found["groups"][0]["changes"]
    assert {change["tunable"] for change in changes} == {"channels", "irq"}
    assert changes[0]["disruptive"]
    assert fleet("plan", directory, "--profiles", f"{directory}/../new", "--exit-code")[0] == 3
    assert fleet("plan", f"{directory}/old.tar.xz", "--exit-code")[0] == 0


def test_what_cannot_be_had_and_problems_come_before_plain_changes(
    host: Callable[..., Path], profiles: Callable[..., str], fleet: Callable[..., tuple[int, Any]]
) -> None:
    directory = host("web1").parent
    host("core", "mlx5_core")
    host("old", "igb")
    new = profiles(EDGE)
    Path(new, "igb.yaml").write_text("match: [{driver: igb}]\nirq: {cpus: 'local & isolated'}\n")
    status, found = fleet("plan", directory, "--profiles", new, "--exit-code")
    assert in_short(found) == [
        ("problems", ["old"], True),
        ("changes", ["core", "web1"], True),
    ]
    assert status == 1, "as of one host's plan"
    assert found["groups"][0]["problems"][0]["ifname"] == "eth0"
    new = profiles("match: [{driver: igb}]\noffloads: {rx-gro-hw: on}\n", "other")
    Path(new, "ice.yaml").write_text(EDGE)
    status, found = fleet("plan", directory, "--profiles", new, "--exit-code")
    assert [group["kind"] for group in found["groups"]] == ["cannot be had", "changes"]
    assert status == 3


def test_a_snapshot_that_is_none_is_named_and_the_others_are_planned(
    host: Callable[..., Path], profiles: Callable[..., str], fleet: Callable[..., tuple[int, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    good = host("web1")
    cut = good.with_name("web2.tar.xz")
    cut.write_bytes(good.read_bytes()[:5000])
    (good.parent / "notes.txt").write_text("no snapshot by its name")
    new = profiles(EDGE)
    status, found = fleet("plan", good.parent, good, "--profiles", new)
    assert in_short(found) == [("changes", ["web1"], True)]
    assert (status, [each["path"] for each in found["unread"]]) == (1, [str(cut)])
    assert run(["fleet", "plan", str(good.parent), "--profiles", new]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("2 hosts: 1 changes, 1 cannot be read.\n\n1 host, changes\n  web1\n")
    assert "eth0  irq rxtx 0-15  each its own  16 values  no" in shown
    assert f"{cut}: is cut off" in shown
    assert run(["fleet", "plan", str(good.parent), "--profiles", new, "--html"]) == 1
    page = capsys.readouterr().out
    assert page.startswith("<!doctype html>")
    assert "web1</p>" in page
    assert f"{cut}: is cut off" in page
    assert run(["fleet", "plan", str(good.parent), "--html", "--json"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert run(["fleet", "plan", str(good.parent), "--profiles", str(good)]) == 1
    assert "is no directory of profiles" in capsys.readouterr().err
    wrong = profiles("match: [{driver: ice}]\nirq: {spread: al}\n", "wrong")
    for words in (("--profiles", wrong), ("--profiles", new, "--against", wrong)):
        assert run(["fleet", "plan", str(good), *words]) == 1
        captured = capsys.readouterr()
        assert not captured.out, "nothing is planned"
        assert "edge.yaml:2:15: irq.spread: `al` is not allowed here" in captured.err
    assert run(["fleet", "plan", str(good), "--against", "own", "--against", new]) == 1
    assert "own goes with no directory" in capsys.readouterr().err
    elsewhere = profiles("match: [{driver: igb}]\nirq: {spread: pack}\n", "elsewhere")
    status, found = fleet("plan", good, "--profiles", elsewhere)
    assert (status, in_short(found)) == (1, [("no profile", ["web1"], True)])


def test_one_in_which_a_mask_is_none_is_planned_as_without_it(
    host: Callable[..., Path], profiles: Callable[..., str], fleet: Callable[..., tuple[int, Any]]
) -> None:
    directory = host("web1").parent
    taken = snapshot.take(machine(HOST.format(driver="ice", irqs="8-40")))
    taken.kernel.tree.add_directory("/proc/irq")["default_smp_affinity"] = File(b"none\n")
    snapshot.write(taken, str(directory / "web2.tar.xz"))
    status, found = fleet("plan", directory, "--profiles", profiles(EDGE))
    assert (status, in_short(found)) == (0, [("changes", ["web1", "web2"], True)])


def test_what_the_new_profiles_withhold_is_no_change_to_what_was_found(
    host: Callable[..., Path], profiles: Callable[..., str], fleet: Callable[..., tuple[int, Any]]
) -> None:
    directory = host("web1").parent
    allow, deny = (f"policy: {{disruptive: {how}}}\n" for how in ("allow", "deny"))
    old = profiles(EDGE + allow + "channels: {combined: 32}\n", "old")
    same = profiles(EDGE + deny + "channels: {combined: 32}\n", "same")
    _, found = fleet("plan", directory, "--profiles", same, "--against", old)
    group = found["groups"][0]
    assert not [c for c in (*group["changes"], *group["withheld"]) if c["tunable"] == "channels"]
    back = profiles(EDGE + allow + "channels: {combined: 16}\n", "back")
    _, found = fleet("plan", directory, "--profiles", back, "--against", old)
    (change,) = (c for c in found["groups"][0]["changes"] if c["tunable"] == "channels")
    assert (change["before"], change["after"]) == ("32 combined", "16 combined")
    assert change["why"] == "these profiles leave it as it was found, those compared with do not"
    for name, channels, withheld in (
        ("denied", "channels: {combined: 16}\n", [("32 combined", "16 combined")]),
        ("silent", "", []),
    ):
        new = profiles(EDGE + deny + channels, name)
        _, found = fleet("plan", directory, "--profiles", new, "--against", old)
        (group,) = found["groups"]
        assert not any(change["disruptive"] for change in group["changes"]), "it may not drop it"
        assert [(c["before"], c["after"]) for c in group["withheld"]] == withheld


def test_against_others_only_what_is_otherwise_is_shown_from_and_to_what_they_say(
    host: Callable[..., Path], profiles: Callable[..., str], fleet: Callable[..., tuple[int, Any]]
) -> None:
    directory = host("web1").parent
    host("web2", irqs="0-63")
    old = profiles(EDGE + "rps: {cpus: 0-1}\nqdisc: {kind: fq}\n", "old")
    new = profiles(EDGE + "rps: {cpus: 0-3}\n", "new")
    _, found = fleet("plan", directory, "--profiles", new, "--against", old)
    assert in_short(found) == [("changes", ["web1", "web2"], True)]
    shown = {
        (change["tunable"], change["key"]): (change["before"], change["after"])
        for change in found["groups"][0]["changes"]
    }
    assert shown.pop(("rps", "rx 0-15")) == ("0-1", "0-3")
    assert shown == {
        ("qdisc", "root"): ("mq", "mq (kernel default)"),
        ("qdisc", "tx 0-15"): ("fq", "pfifo_fast"),
    }
    _, found = fleet("plan", directory, "--profiles", new, "--against", new)
    assert [group["kind"] for group in found["groups"]] == ["nothing to do"]
    _, found = fleet("plan", directory, "--profiles", new, "--against", "own")
    tunables = [{change["tunable"] for change in group["changes"]} for group in found["groups"]]
    assert sorted(map(sorted, tunables)) == [["irq", "rps"], ["rps"]], "one is as wanted already"


@pytest.mark.parametrize(("cards", "queues"), [(2, 32), (4, 64)])
def test_a_snapshot_of_a_host_takes_less_than_100_kb(
    cards: int, queues: int, tmp_path: Path
) -> None:
    card = f"{{name: eth0, driver: mlx5_core, count: {cards}, queues: {queues}, maximum: 64}}"
    text = f"nodes: 2\ncores: 16\nthreads: 2\ncards:\n  - {card}\n"
    path = tmp_path / "host.tar.xz"
    taken = snapshot.take(machine(text))
    taken.kernel.tree.add_directory("/proc").update(_counted(cards * queues))
    snapshot.write(taken, str(path))
    assert path.stat().st_size < 100_000


def _counted(irqs: int) -> dict[str, File]:
    """What 64 CPUs have counted since long ago, which a described machine has not."""
    numbers = random.Random(1)

    def row(name: object, cpus: int) -> str:
        counts = [numbers.randrange(10**9) if cpu < cpus else 0 for cpu in range(64)]
        numbers.shuffle(counts)
        return f"{name}:" + "".join(f" {count:10}" for count in counts)

    every = "NMI LOC SPU PMI IWI RTR RES CAL TLB TRM THR DFR MCE MCP HYP HRE HVS PIN NPI PIW"
    rows = [row(irq, 4) for irq in range(irqs + 100)] + [row(name, 64) for name in every.split()]
    softirqs = [row(name, 64) for name in ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "RCU")]
    times = [row(f"cpu{cpu}", 10) for cpu in range(64)]
    texts = {"interrupts": rows, "softirqs": softirqs, "stat": times}
    return {name: File("\n".join(lines).encode()) for name, lines in texts.items()}


def test_names_of_hosts_are_folded() -> None:
    web = [f"web{n:02}" for n in (*range(1, 41), 42)]
    assert folded([*web, "db", "web7", "r1.a", "r2.a"]) == "web[01-40,42], web7, db, r[1-2].a"
    assert folded(["web", "web1", "web2"]) == "web, web[1-2]"
    assert folded(["web5", "web"]) == "web5, web"


def test_of_two_files_of_one_name_hosts_are_told_by_their_paths(tmp_path: Path) -> None:
    for path in ("a/web.json", "b/web.json", "b/db.json", "b/.hidden.json"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    found = find([str(tmp_path / "a"), str(tmp_path / "b")], STATUSES)
    assert [file.host for file in found] == [
        *(f"{tmp_path}/a/web.json", "db", f"{tmp_path}/b/web.json")
    ]
    (tmp_path / "d").symlink_to(tmp_path / "b")
    once = find([str(tmp_path / "b"), str(tmp_path / "d")], STATUSES)
    assert [file.path for file in once] == [file.path for file in found[1:]]
    (tmp_path / "c").mkdir()
    with pytest.raises(NetunedError, match=r"no file in it ends with \.json"):
        find([str(tmp_path / "c")], STATUSES)


def test_processes_give_in_order_what_one_gives_and_one_that_is_killed_is_told() -> None:
    assert [*pool.each(str, range(100), 2)] == [*map(str, range(100))]
    with pytest.raises(NetunedError, match="fewer --jobs"):
        list(pool.each(_killed_at_50, range(100), 2))


def _killed_at_50(number: int) -> int:
    if number == 50:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


SETTING = SettingStatus("irq", DRIFTED, "0", "1")
GOOD = Status(
    ManagerStatus("1", IN_SYNC),
    (
        NicStatus(2, "eth0", "ice", "edge", IN_SYNC, settings=(replace(SETTING, state=IN_SYNC),)),
        NicStatus(3, "lo", "", "", UNMANAGED),
    ),
)
BAD = replace(GOOD, nics=(replace(GOOD.nics[0], state=DRIFTED, settings=(SETTING,)),))


def contended(who: str) -> Status:
    setting = replace(SETTING, state=CONTENDED, reason=f"changed again and again by {who}")
    return replace(BAD, nics=(replace(BAD.nics[0], state=CONTENDED, settings=(setting,)),))


def test_hosts_are_grouped_by_what_is_not_in_sync(
    tmp_path: Path, fleet: Callable[..., tuple[int, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    absent = ManagerStatus("", NOT_RUNNING, problems=("netuned is not running",))
    for host, status in {
        **{f"web{n}": GOOD for n in range(3)},
        "db1": contended("cat (pid 7)"),
        "db2": contended("cat (pid 8)"),
        "odd": BAD,
        "gone": replace(GOOD, manager=absent),
        "trial": replace(GOOD, manager=replace(GOOD.manager, pending_confirm="a1: eth0")),
    }.items():
        (tmp_path / f"{host}.json").write_text(json.dumps(asdict(status)))
    left, found = fleet("drift", tmp_path, "--exit-code")
    assert in_short(found) == [
        ("not-running", ["gone"], True),
        ("contended", ["db1", "db2"], False),
        ("drifted", ["odd"], True),
        ("unconfirmed", ["trial"], True),
        ("in-sync", ["web0", "web1", "web2"], True),
    ]
    assert left == 3
    (nic,) = found["groups"][1]["status"]["nics"]
    assert nic["settings"][0]["reason"] == "changed again and again by cat (pid 7)"
    for path in tmp_path.glob("*.json"):  # as Ansible's info returns it
        status = json.loads(path.read_text())
        status["manager"]["of_a_later_version"] = status["nics"][0]["also"] = [1]
        path.write_text(json.dumps({"changed": False, "status": status, "plan": {"changes": []}}))
    assert fleet("drift", tmp_path, "--exit-code") == (left, found)
    (tmp_path / "half.json").write_text('{"manager": {"version": "1"}, "nics": []}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert run(["fleet", "drift", str(tmp_path), "--jobs", "1"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "10 hosts: 1 not-running, 2 contended, 1 drifted, 1 unconfirmed, 3 in-sync" in shown
    assert "eth0 ice edge contended" in shown
    assert "To be confirmed: a1: eth0" in shown
    assert "half.json: is not what `netunedctl status --json` prints: manager.state: " in shown
    assert "deep.json: is not what" in shown
