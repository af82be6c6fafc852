"""What was done and who asked for it, out of a real journal that a journald of the tests' keeps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from netuned.history import CHANGE, KINDS, NO_JOURNAL, NO_RIGHT, NOTHING_KEPT
from tests.netns.lab import Lab
from tests.unit.pages import Checked

pytestmark = pytest.mark.netns
Skip = Callable[[str], NoReturn]

JOURNALD = "/usr/lib/systemd/systemd-journald"
MACHINE_ID = "/etc/machine-id"
NOBODY = 65534
ODD = "e\x1b[31m\udcff"

# Namespaces of cards stay reachable below the new /run
MOUNTS = """\
CONFIG=/run/systemd/journald.conf.d/tests.conf
exec 3</run/netns
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/systemd/journal /run/systemd/journald.conf.d
mount --no-canonicalize --rbind /proc/self/fd/3 /run/netns
test ! -d /var/log/journal || mount -t tmpfs tmpfs /var/log/journal
printf '[Journal]\\nStorage=%s\\nAudit=no\\nReadKMsg=no\\n' "$1" >$CONFIG
touch /run/private
shift
exec "$@"
"""

LEFT_ALONE = "restored to what was before netuned and left alone; "
LEFT_ALONE += "`netunedctl apply lan0` brings it into force"
FORGED = f"MESSAGE_ID={KINDS[CHANGE]}\nIFNAME=lan0\nTUNABLE=rps\nCAUSE=drift\nMESSAGE=forged\n"


class Journal(Lab):
    """A lab whose programs have a /run of their own, with a journald that logs there."""

    journald: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        command = super().command(*words)
        if self.journald is None:
            return command
        return ["nsenter", f"--target={self.journald.pid}", "--mount", "--", *command]

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "JOURNAL_STREAM": "1:1", "COLUMNS": "200", "TZ": "UTC"}

    def start_journald(self, storage: str, *program: str) -> None:
        mounts = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", MOUNTS, "sh")
        self.journald = subprocess.Popen([*mounts, storage, *program], stderr=subprocess.DEVNULL)
        socket = " -a -S /run/systemd/journal/socket" if program == (JOURNALD,) else ""
        ready = ("sh", "-c", f"test -e /run/private{socket}")
        self.wait(lambda: not self.run(*ready, check=False).returncode, "journald")

    def history(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "netuned.cli", "history", *words, check=False)

    def entries(self, *words: str) -> list[dict[str, Any]]:
        done = self.history(*words, "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["entries"]
        return found

    def until(self, *words: str) -> list[dict[str, Any]]:
        """The entries, once the last has these words: journald takes them when it has time."""

        def is_there() -> bool:
            found[:] = self.entries()
            return bool(found) and all(word in found[-1]["message"] for word in words)

        found: list[dict[str, Any]] = []
        self.wait(is_there, f"{words} in the journal", every_s=0.1)
        return found


def brief(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Kind, cards, setting, what it became and why, of each entry."""
    return [
        (e["kind"], *e["ifnames"], f"{e['tunable']} {e['key']}".strip(), e["after"], e["cause"])
        for e in entries
    ]


@pytest.fixture
def lab(skip: Skip) -> Iterator[Journal]:
    if os.geteuid() != 0:
        skip("needs root: makes network namespaces")
    if not os.path.exists(JOURNALD):
        skip(f"needs {JOURNALD}: apt install systemd")
    if not os.path.exists(MACHINE_ID):
        skip(f"needs {MACHINE_ID}: systemd-machine-id-setup")
    with Journal() as made:
        try:
            yield made
        finally:
            if made.journald is not None:
                made.journald.terminate()
                made.journald.wait(10)


def test_what_was_done_and_who_asked_is_on_record(lab: Journal) -> None:
    lab.add_pair("lan0", "peer0", queues=2)
    lab.start_journald("volatile", JOURNALD)
    assert lab.history().stdout == "Nothing is on record.\n"
    assert lab.history("lan9").stdout == "Nothing of lan9 is on record; did you mean `lan0`?\n"
    lab.profile("edge", "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0}\n")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.ctl("restore", "lan0", "rps")
    lab.ctl("apply", "lan0")
    lab.ctl("pause")
    lab.ctl("resume")
    lab.shell("echo 3 > /sys/class/net/lan0/queues/rx-1/rps_cpus")
    entries = lab.until("Repaired lan0 rps rx-1")
    profile = [("change", "lan0", f"rps rx-{n}", "0", "profile") for n in range(2)]
    assert brief(entries) == [
        *profile,
        ("request", "lan0", "rps", None, "restore"),
        ("change", "lan0", "rps rx 0-1", "none", "restore"),
        ("left", "lan0", "rps rx 0-1", "0", LEFT_ALONE),
        ("request", "lan0", "", None, "apply"),
        *(("change", "lan0", f"rps rx-{n}", "0", "apply") for n in range(2)),
        ("request", "", None, "pause"),
        ("request", "", None, "resume"),
        ("change", "lan0", "rps rx-1", "0", "drift"),
    ]
    assert entries[-1]["before"] == "0-1"
    caller = entries[2]["caller"]
    assert caller["uid"] == 0
    assert caller["command"].endswith("netuned.cli restore lan0 rps")
    shown = lab.history("lan0").stdout
    assert "rps rx 0-1" in shown
    assert f"asked for by root, pid {caller['pid']} (" in shown
    lab.shell("ip link property add dev lan0 altname the-name-of-the-rack-plan")
    assert lab.history("the-name-of-the-rack-plan").stdout == shown
    report = ("-m", "netuned.cli", "report", "--for", "off", "--out", "-")
    page = " ".join(Checked(lab.run(sys.executable, *report).stdout).text.split())
    assert re.search(r"repairs on record Time .* lan0 rps rx-1 0-1 0 drift", page)
    fields = lab.run("journalctl", "-o", "export", "CAUSE=restore", "IFNAME=lan0").stdout
    assert f"OBJECT_PID={caller['pid']}" in fields
    assert {"TUNABLE=rps", "QUEUE=rx 0-1", "BEFORE=0", "AFTER=none"} <= set(fields.splitlines())
    assert lab.log.read_text() == "", "nothing is told twice"


def test_what_others_log_is_not_taken_for_netuneds(lab: Journal) -> None:
    lab.start_journald("volatile", JOURNALD)
    log = "logger --journald"
    lab.shell(f"printf '{FORGED}' | setpriv --reuid {NOBODY} --clear-groups {log}")
    lab.shell(f"printf '{FORGED}' | {log}")
    lab.shell("printf 'MESSAGE=netuned says\\nIFNAME=lan0\\n' | logger --journald")
    (entry,) = lab.until("forged")
    assert entry["cause"] == "drift"
    lab.shell("journalctl --sync")
    assert len(lab.entries("lan0")) == 1


def test_a_card_is_found_by_its_name_as_it_is_shown(lab: Journal) -> None:
    lab.start_journald("volatile", JOURNALD)
    lab.add_pair("lan0", "peer0", queues=2)
    lab.shell("ip link set lan0 down")
    lab.run("ip", "link", "set", "lan0", "name", ODD)
    lab.profile("edge", "match: [{kind: veth}]\nrps: {cpus: 0}\n")
    lab.start()
    shown = r"e\x1b[31m\xff"
    lab.wait(lambda: len(lab.entries(shown)) == 2, "the odd card's entries", every_s=0.1)
    assert len(lab.entries(ODD)) == 2
    assert {name for e in lab.entries() for name in e["ifnames"]} == {shown, "peer0"}
    assert "\x1b" not in lab.history().stdout


@pytest.mark.parametrize(
    ("storage", "program", "said"),
    [("none", (JOURNALD,), NOTHING_KEPT), ("none", ("sleep", "60"), NO_JOURNAL)],
    ids=["nothing kept", "no journald"],
)
def test_no_journal_is_said_to_be_none(
    lab: Journal, storage: str, program: tuple[str, ...], said: str
) -> None:
    lab.start_journald(storage, *program)
    done = lab.history()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"netunedctl: {said}\n")


def test_who_has_no_right_is_told_so(lab: Journal) -> None:
    lab.start_journald("volatile", JOURNALD)
    script = (
        "import os, netuned.cli.history as history; from netuned.history import _problem, read;"
        f"read(); os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); print(_problem())"
    )
    assert lab.run(sys.executable, "-c", script).stdout == f"{NO_RIGHT}\n"
