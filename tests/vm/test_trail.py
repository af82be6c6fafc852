"""The installed daemon's record in the journal of a booted system, and who may read it."""

from __future__ import annotations

import json

import pytest

from netuned.history import NO_RIGHT

from .guest_host import FIRST, Guest

pytestmark = pytest.mark.every_kernel

NOBODY = "setpriv --reuid=65534 --regid=65534"


def test_what_was_done_and_who_asked_is_on_record(igb: Guest) -> None:
    igb.sh(f"netunedctl apply {FIRST}")
    igb.wait_state(FIRST, "in-sync")  # what tests before have left undone is done
    igb.sh("sleep 1")  # a time in the journal has whole seconds
    since = igb.sh("date '+%F %T'")
    igb.sh(f"/usr/bin/netunedctl restore {FIRST} qdisc")
    igb.sh(f"/usr/bin/netunedctl apply {FIRST}")
    igb.sh("systemctl reload netuned")
    igb.wait_state(FIRST, "in-sync")
    igb.sh(f"tc qdisc replace dev {FIRST} root pfifo")
    repaired = f"netunedctl history {FIRST} --since '{since}' | grep drift"
    igb.wait("the repair", repaired, 60)
    shown = igb.sh(f"netunedctl history {FIRST} --since '{since}' --json")
    entries = json.loads(shown)["entries"]
    requests = [entry for entry in entries if entry["kind"] == "request"]
    assert [entry["cause"] for entry in requests] == ["restore", "apply", "reload"]
    callers = [entry["caller"] for entry in requests]
    assert [caller["uid"] for caller in callers] == [0, 0, None]
    assert callers[0]["command"].endswith(f"netunedctl restore {FIRST} qdisc")
    of_requests = [e for e in entries if e["kind"] == "change" and e["cause"] != "drift"]
    assert {entry["tunable"] for entry in of_requests} == {"qdisc"}
    changes = [e for e in entries if e["kind"] == "change" and e["tunable"] == "qdisc"]
    assert list(dict.fromkeys(e["cause"] for e in changes)) == ["restore", "apply", "drift"]
    assert entries.index(requests[0]) < entries.index(changes[0])


def test_who_may_read_the_journal_may_read_it_and_nobody_else(igb: Guest) -> None:
    refused = igb.machine.run(f"{NOBODY} --clear-groups netunedctl history", check=False)
    assert (refused.rc, refused.stdout) == (1, "")
    assert NO_RIGHT in refused.stderr
    igb.sh(f"{NOBODY} --groups=$(getent group systemd-journal | cut -d: -f3) netunedctl history")


def test_it_is_whole_and_needs_no_daemon(igb: Guest) -> None:
    assert igb.sh("systemctl show -P LogRateLimitIntervalUSec netuned") == "0"
    igb.sh("systemctl stop netuned")
    try:
        past = "until netunedctl history | grep -q profile; do sleep 1; done"
        igb.sh(past, 30)  # of a daemon that does not run, too
    finally:
        igb.sh("systemctl start netuned")
        igb.wait_state(FIRST, "in-sync")
