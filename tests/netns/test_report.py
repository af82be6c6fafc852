"""The report of a host with a daemon: what it keeps, what was measured, and odd names as text."""

from __future__ import annotations

import re
import sys

import pytest

from tests.netns.lab import Lab
from tests.unit.pages import Checked

pytestmark = pytest.mark.netns

ODD = "<b>\"'&{{7}}"
PROFILE = "match: [{kind: veth, name: lan0}, {kind: veth, name: '<b>*'}]\nrps: {cpus: 0-1}\n"


def test_the_page_shows_what_the_daemon_keeps_and_repaired() -> None:
    """By its profiles, which are others than those of the host that asks."""
    with Lab() as lab:
        lab.add_pair("lan0", "peer0", queues=2)
        lab.run("ip", "link", "set", "peer0", "name", ODD)
        lab.profile("edge", PROFILE)
        lab.start()
        lab.wait_state("lan0", "in-sync")
        lab.shell("echo 0 >/sys/class/net/lan0/queues/rx-1/rps_cpus")
        lab.wait(lambda: lab.attribute("lan0", "rx-1", "rps_cpus") == "3", "the repair")
        lab.wait_state("lan0", "in-sync")
        words = ("-m", "netuned.cli", "report", "--for", "1s", "--out", "-")
        found = Checked(lab.run(sys.executable, *words).stdout)
        file = str(lab.directory / "host.tar.xz")
        lab.run(sys.executable, *words[:2], "snapshot", "--for", "1s", file)
        elsewhere = Checked(lab.ctl("report", "--snapshot", file, "--out", "-").stdout)
    text = " ".join(found.text.split())
    assert "netuned: in-sync. Cards: 2 in-sync." in text
    assert "Measured over 1." in text
    assert "Findings (" in text
    assert "lan0 rps rx-1 none 0-1 drift 1" in text
    assert "Nothing would be changed." in text
    assert f"Settings of {ODD} Setting State Wanted Found Why rps in-sync 0-1" in text
    assert not found.of("b")
    assert {row["data-rps"] for row in found.of("tr") if "data-rps" in row} == {"0-1"}
    assert re.search(r"It received [0-9,]+ packets and .* a second; dropped", text)
    assert "Measured over 1." in " ".join(elsewhere.text.split())
