"""``netunedctl top`` on a running kernel: traffic shows, and cards that come and go do."""

from __future__ import annotations

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

TOP = (sys.executable, "-m", "netuned.cli", "top")
TRAFFIC = """
import socket, time
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("lan0", 0))
print("ready", flush=True)
while True:
    for _ in range(20):
        sender.send(bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46))
    time.sleep(0.02)
"""


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.shell("tc qdisc replace dev lan0 root mq")
        yield made


@pytest.fixture
def traffic(lab: Lab) -> Iterator[int]:
    """Twenty frames each 20 ms from lan0; the process that sends them."""
    words = lab.command(sys.executable, "-c", TRAFFIC)
    with subprocess.Popen(words, stdout=subprocess.PIPE) as sender:
        assert sender.stdout is not None
        sender.stdout.readline()
        yield sender.pid
        sender.kill()


def test_traffic_shows_in_every_form(lab: Lab, traffic: int) -> None:
    found: dict[str, Any] = json.loads(
        lab.run(*TOP, "--once", "--json", "--interval", "0.3").stdout
    )
    cards = {card["card"]: card for card in found["cards"]}
    assert cards["lan0"]["tx_packets"] >= 20
    assert cards["peer0"]["rx_bytes"] >= 1200
    assert cards["lan0"]["rx_packets"] < cards["lan0"]["tx_packets"]
    queues = [queue for queue in found["queues"] if queue["card"] == "lan0"]
    assert sum(queue["tx_packets"] for queue in queues) >= 20, "its qdiscs count"
    assert sum(cpu["packets"] for cpu in found["cpus"]) >= 20
    names = {name for cpu in found["cpus"] for name in cpu["processes"]}
    assert any(name.endswith(f" {traffic}") for name in names)
    lines = lab.run(*TOP, "peer0", "--once", "--csv", "--interval", "0.3").stdout.splitlines()
    (row,) = csv.DictReader(lines)
    assert (row["card"], float(row["rx_packets"]) >= 20) == ("peer0", True)
    table = lab.run(*TOP, "--once", "--filter", "PEER", "--interval", "0.1").stdout.splitlines()
    assert len(table) == 3
    assert table[2].startswith("peer0 ")


class Terminal:
    """A real terminal of 80 × 24 in the lab's namespace, with ``top`` in it."""

    def __init__(self, lab: Lab, *options: str) -> None:
        self.lab = lab
        self.status = lab.directory / "status"
        pid = lab.directory / "pid"
        top = shlex.join(("env", "--unset=LINES", "--unset=COLUMNS", *TOP, *options))
        command = f"echo $$ > {pid}; {top}; echo $? > {self.status}; cat"
        self.tmux("new-session", "-d", "-x", "80", "-y", "24", f"TERM=screen sh -c {command!r}")

    def tmux(self, *words: str) -> str:
        socket = str(self.lab.directory / "tmux")
        return self.lab.run("tmux", "-u", "-S", socket, "-f", "/dev/null", *words).stdout

    def until(self, *parts: str) -> list[str]:
        """The lines of the screen once all of these are there."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            shown = self.tmux("capture-pane", "-p")
            if all(re.search(part, shown, re.MULTILINE) for part in parts):
                return shown.splitlines()
            time.sleep(0.1)
        raise AssertionError(shown)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)


@pytest.fixture
def terminal(lab: Lab) -> Iterator[Terminal]:
    made = Terminal(lab)
    yield made
    made.tmux("kill-server")


def test_the_screen_in_a_real_terminal(terminal: Terminal, traffic: int) -> None:
    """What is sent shows; keys are taken; another size is; it leaves the terminal as it was."""
    moving = r"^lan0( +\S+){2} +(?!0 )\S+ +(?!0 )\S+ "  # packets and bytes sent
    lines = terminal.until(moving, r"^F1Help ", r"\[CARDS\]")
    assert max(map(len, lines)) <= 80
    terminal.press("Tab")
    terminal.until(r"\[QUEUES\]", r"^lan0 1 ")
    terminal.press("F4", "peer", "Enter")
    terminal.until("filter peer", "^peer0 1 ")
    assert not any(line.startswith("lan0") for line in terminal.until("filter peer")[4:])
    terminal.press("Escape")
    terminal.until("^lan0 1 ")
    terminal.press("Tab")
    terminal.until(r"\[CPUS\]", r"^0 .*[1-9]")
    terminal.tmux("resize-window", "-x", "200", "-y", "50")
    assert len(terminal.until("LAST MINUTE.*PROCESSES", rf"python\S* {traffic}\b")) > 24
    assert terminal.tmux("display-message", "-p", "#{alternate_on}").strip() == "1"
    terminal.press("q")
    wait_for(terminal.status.exists)
    assert terminal.tmux("display-message", "-p", "#{alternate_on}").strip() == "0"
    assert terminal.status.read_text() == "0\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_it(terminal: Terminal, name: str) -> None:
    terminal.until(r"\[CARDS\]")
    shell = int((terminal.lab.directory / "pid").read_text())
    (top,) = psutil.Process(shell).children()
    top.send_signal(signal.Signals[name])
    wait_for(terminal.status.exists)
    alternate = terminal.tmux("display-message", "-p", "#{alternate_on}").strip()
    assert (name, alternate) in (("SIGTERM", "0"), ("SIGHUP", "1"))


def test_without_a_terminal_it_is_a_table(lab: Lab) -> None:
    """For whoever pipes it, until he has seen enough."""
    words = lab.command(*TOP, "--interval", "0.1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None
        assert top.stderr is not None
        tables = "".join(top.stdout.readline() for _ in range(12))
        assert tables.count("per second over 0.") >= 2
        assert "\x1b" not in tables
        top.stdout.close()
        assert top.stderr.read() == ""
    assert top.returncode == 1


def test_a_card_that_comes_and_queues_that_go(lab: Lab) -> None:
    """A stream of lines, one for each refresh; each is of the cards that are there."""
    words = lab.command(*TOP, "--json", "--interval", "0.1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None

        def until(name: str, queues: int) -> None:
            assert top.stdout is not None
            for line in top.stdout:  # a test that hangs is ended from outside
                there = [queue["card"] for queue in json.loads(line)["queues"]]
                if there.count(name) == queues:
                    return
            raise AssertionError("it ended")

        until("lan0", 2)
        lab.add_pair("lan1", "peer1", queues=4)
        until("lan1", 4)
        lab.shell("ip link del lan1")
        until("lan1", 0)
        lab.shell("ethtool -L lan0 tx 1 rx 1")
        until("lan0", 1)
        top.kill()


def test_a_card_that_is_not_there_is_named(lab: Lab) -> None:
    done = lab.run(*TOP, "lan1", "--once", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("netunedctl: there is no card named lan1; did you mean `lan0`?")
