"""``netunedctl status`` of several cards and in one line, and without a command."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from netuned.cli import answers, main
from netuned.cli.status import oneline
from netuned.hardware.host import read_nics
from netuned.kernel.recorded import File
from netuned.reconcile.tally import Tallies
from netuned.snapshots import described, unmanaged
from netuned.status import (
    APPLYING,
    CONTENDED,
    DEGRADED,
    DRIFTED,
    IN_SYNC,
    NOT_RUNNING,
    OBSERVED,
    PAUSED,
    STARTING,
    UNMANAGED,
    Applied,
    ManagerStatus,
    NicStatus,
    SettingStatus,
    Status,
)

MANAGER = ManagerStatus("1", IN_SYNC)
SETTING = SettingStatus("rps", IN_SYNC, "0", "0")
CHANGE = Applied(1.5, "rps", "rx-0", "1", "0", "drift", [1], [0])


def card(ifindex: int, name: str, state: str = IN_SYNC, profile: str = "edge") -> NicStatus:
    setting = replace(SETTING, state=state if state in (DRIFTED, CONTENDED) else IN_SYNC)
    settings = (setting,) if profile else ()
    return NicStatus(ifindex, name, "igb", profile, state, (), settings, CHANGE)


CARDS = tuple(card(n, f"eth{n}") for n in range(4))
CALM = Status(MANAGER, (*CARDS, card(9, "lan[0]", UNMANAGED, "")))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Status]:
    """What the daemon says, to be changed."""
    said = [CALM]
    monkeypatch.setattr(answers, "status", lambda *, json: said[-1])
    return said


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main.run(words)
    return capsys.readouterr().out


def test_without_a_command_it_is_the_status(
    shown: list[Status], capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys) == printed(capsys, "status") != ""


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("eth1", "eth3"), ["eth1", "eth3"]),
        (("eth3", "eth1"), ["eth1", "eth3"]),
        (("eth[01]",), ["eth0", "eth1"]),
        (("eth2*",), ["eth2"]),
        (("*", "eth0"), ["eth0", "eth1", "eth2", "eth3", "lan[0]"]),
    ],
)
def test_of_several_cards_each_has_a_line(
    shown: list[Status],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    names: list[str],
) -> None:
    whole = json.loads(printed(capsys, "status", *words, "--json"))
    assert [nic["name"] for nic in whole["nics"]] == names
    assert whole["manager"]["version"] == "1"
    lines = printed(capsys, "status", *words).splitlines()
    assert [line.split()[0] for line in lines[1:]] == names


def test_a_name_is_a_name_before_it_is_a_pattern(
    shown: list[Status], capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "status", "lan[0]").startswith("lan[0]: unmanaged")
    assert json.loads(printed(capsys, "status", "lan[0]", "--json"))["name"] == "lan[0]"
    renamed = replace(CARDS[0], altnames=("rack-7",))
    shown.append(replace(CALM, nics=(renamed, *CARDS[1:])))
    assert printed(capsys, "status", "rack-7").startswith("eth0: in-sync")
    assert printed(capsys, "status", "rack-*").splitlines()[1].startswith("eth0 ")


def test_a_pattern_that_is_like_no_card_is_an_error(
    shown: list[Status], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["status", "eth0", "wlan*"]) == 1
    assert "there is no card named wlan*" in capsys.readouterr().err
    shown.append(replace(CALM, manager=replace(MANAGER, state=STARTING), nics=()))
    assert main.run(["status", "eth*"]) == 1
    assert "netuned is starting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (CALM, "4 cards in sync"),
        (Status(MANAGER, CARDS[:1]), "1 card in sync"),
        (Status(MANAGER), "no profile is in force on a card"),
        (replace(CALM, manager=replace(MANAGER, state=STARTING)), "starting"),
        (
            Status(replace(MANAGER, state=NOT_RUNNING, problems=("it does not run",)), CARDS),
            "not running; 4 cards in sync",
        ),
        (
            Status(MANAGER, (*CARDS[:2], card(7, "eth7", OBSERVED), card(8, "eth8", PAUSED))),
            "2 of 4 cards in sync; eth7 observed; eth8 paused",
        ),
        (
            Status(
                replace(
                    MANAGER,
                    settings=(replace(SETTING, tunable="sysctl", state=DRIFTED),),
                    problems=("one", "two"),
                    profile_errors=("bad",),
                    pending_confirm="3f91c0: eth0, until 12:00",
                ),
                tuple(card(n, f"e\x1b{n}", CONTENDED) for n in range(5)),
            ),
            "0 of 5 cards in sync; e\x1b0 contended (rps); e\x1b1 contended (rps); "
            "e\x1b2 contended (rps); 2 more; host sysctl drifted; 1 profile error; 2 problems; "
            "to be confirmed: 3f91c0: eth0, until 12:00",
        ),
    ],
)
def test_one_line_says_what_is_in_sync_and_what_is_not(
    status: Status, line: str, shown: list[Status], capsys: pytest.CaptureFixture[str]
) -> None:
    assert oneline(status, ()) == f"netuned: {line}"
    shown.append(status)
    assert printed(capsys, "status", "--oneline") == f"netuned: {line}\n".replace("\x1b", "\\x1b")


def test_one_line_of_some_cards_is_about_these(
    shown: list[Status], capsys: pytest.CaptureFixture[str]
) -> None:
    drifted = card(1, "eth1", DRIFTED)
    shown.append(replace(CALM, nics=(CARDS[0], drifted, *CARDS[2:])))
    assert printed(capsys, "status", "--oneline", "eth[02]") == "netuned: 2 cards in sync\n"
    words = ["status", "--oneline", "--exit-code"]
    assert main.run([*words, "eth0"]) == 0
    assert main.run([*words, "eth0", "eth1"]) == 3
    assert capsys.readouterr().out.endswith("1 of 2 cards in sync; eth1 drifted (rps)\n")
    assert main.run([*words, "--json"]) == 2


def test_how_long_something_has_been_so_is_said(
    shown: list[Status], capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    old = replace(CARDS[0], since=now - 3 * 86400)
    setting = replace(SETTING, state=DRIFTED, reason="somebody", since=now - 125)
    drifted = replace(CARDS[1], state=DRIFTED, since=now - 7300, settings=(setting,))
    manager = replace(MANAGER, settings=(replace(setting, tunable="sysctl"),))
    shown.append(Status(manager, (old, drifted)))
    header, first, second, *rest = printed(capsys, "status").splitlines()
    assert header.split()[3:5] == ["STATE", "FOR"]
    assert first.split()[3:6] == ["in-sync", "3", "d"]
    assert second.split()[3:6] == ["drifted", "2", "h"]
    assert "eth1 rps for 2 min: somebody" in rest
    assert any(line.startswith("Host: sysctl drifted for 2 min: 0") for line in rest)
    assert "eth1 drifted for 2 h (rps); host sysctl drifted for 2 min" in oneline(shown[-1], ())
    assert printed(capsys, "status", "eth0").startswith("eth0: in-sync for 3 d, driver igb")
    assert json.loads(printed(capsys, "status", "eth0", "--json"))["since"] == old.since
    shown.append(CALM)  # who does not say since when, an earlier daemon, has no column for it
    assert "FOR" not in printed(capsys, "status").splitlines()[0].split()


def test_a_state_that_is_come_back_to_on_the_way_has_not_ended() -> None:
    at = [100.0]
    tallies = Tallies(lambda: at[0])
    assert tallies.since("", DEGRADED) == 100
    at[0] = 200.0
    assert tallies.since("", APPLYING) == 0
    assert tallies.since("", DEGRADED) == 100, "it was tried again, and failed again"
    assert tallies.since("", IN_SYNC) == 200
    assert tallies.since("rps", IN_SYNC) == 200
    at[0] = 300.0
    assert tallies.since("", DEGRADED) == 300
    assert tallies.since("rps", IN_SYNC) == 200


MACHINE = """\
cores: 8
cards:
  - {name: eth0, driver: ice, queues: 4}
  - {name: eth1, driver: ice, queues: 4, irqs: 2-3}
  - {name: eth2, driver: ice, queues: 4}
  - {name: bond0, kind: bond, over: [eth2]}
"""


def test_of_an_unmanaged_card_it_shows_what_is_there(
    shown: list[Status], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = described.machine(MACHINE, "machine.yaml")
    counts = kernel.tree.add_directory(f"{kernel.files.resolve('/sys/class/net/eth0')}/statistics")
    counts["rx_missed_errors"] = File(b"1203\n")
    nics = read_nics(kernel, {}).values()
    found = [NicStatus(nic.ifindex, nic.name, nic.driver, "", UNMANAGED) for nic in nics]
    by_name = {nic.name: nic for nic in found}
    another = replace(by_name["eth2"], driver="igb")
    status = unmanaged.filled(
        Status(MANAGER, (*found[:2], another, by_name["bond0"])), kernel=kernel
    )
    first, second, other, bond = status.nics
    assert [queue.cpus for queue in first.queues if queue.kind == "rx"] == ["0"] * 4
    assert [queue.cpus for queue in second.queues if queue.kind == "rx"] == ["2", "3"] * 2
    assert all(queue.irq >= 0 and queue.qdisc for queue in first.queues if queue.kind == "tx")
    assert (other, bond.queues) == (another, ()), "another card, or none of hardware"

    monkeypatch.setattr("netuned.cli.status._with_unmanaged", lambda said: said)
    shown.append(status)
    lines = printed(capsys, "status").splitlines()
    assert " ".join(lines[1].split()) == "eth0 ice - unmanaged 4"
    assert "eth0: 4 interrupts on CPU 0; dropped 1,203 (rx_missed_errors)" in lines
    assert "eth1: 4 interrupts on CPUs 2-3" in lines
    assert "Dropped since its driver is there: rx_missed_errors 1,203." in printed(
        capsys, "status", "eth0"
    )
    whole = printed(capsys, "status", "eth1").splitlines()
    assert whole[0] == "eth1: unmanaged, driver ice, no profile matches it"
    assert whole[2].split()[:3] == ["QUEUE", "IRQ", "CPUS"]
    assert [line.split()[2] for line in whole[3:7]] == ["2", "3", "2", "3"]


def test_a_card_that_is_not_to_be_read_is_shown_as_the_daemon_has_it() -> None:
    kernel = described.machine(MACHINE, "machine.yaml")
    gone = NicStatus(99, "eth9", "ice", "", UNMANAGED)
    renamed = NicStatus(2, "lan0", "ice", "", UNMANAGED)
    status = Status(MANAGER, (CARDS[0], gone, renamed))
    assert unmanaged.filled(status, kernel=kernel) == status
