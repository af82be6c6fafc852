"""Huge pages: what profiles may say, and what becomes of it where memory is short or in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netuned.hardware.nic import HOST
from netuned.kernel.once import Once
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import Rounds
from netuned.reconcile.report import _settings, card_state
from netuned.reconcile.tally import Tallies
from netuned.status import PARTIAL
from netuned.tunables.hugepages import HUGEPAGES, NODES, gathered
from tests.unit.hosts import Host


def profile(pages: Any, name: str = "edge") -> Profile:
    return Profile.of({"name": name, "host": {"hugepages": pages}})


def path(node: int, kb: int = 2048) -> str:
    return f"{NODES}/node{node}/hugepages/hugepages-{kb}kB/nr_hugepages"


class PagesHost(Host):
    """Two nodes of 1 GB. The kernel makes no more pages than ``free``, and keeps those ``used``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.used = 1 << 30, 0
        self._patch = monkeypatch
        super().__init__(root, HUGEPAGES)
        for node in (0, 1):
            self.put(f"{NODES}/node{node}/meminfo", f"Node {node} MemTotal:  1048576 kB\n")
            self.put(path(node), "0\n")
            self.put(path(node, 1 << 20), "0\n")

    def restart(self) -> None:
        super().restart()
        self._patch.setattr(self.kernel.files, "write", self._write)

    def _write(self, path: str, data: bytes) -> None:
        self.writes = getattr(self, "writes", 0) + 1
        self.put(path, f"{max(min(int(data), self.free), self.used)}\n")

    def shown(self) -> tuple[str, str]:
        (found,) = _settings(self.card, {}, "", Tallies())
        return found.state, found.reason


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PagesHost:
    return PagesHost(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        *(({size: {"node0": 1}}, "no size") for size in ("3M", "2048K", "2", "2MB", "0M", 2048)),
        *(({"2M": {node: 1}}, "no node") for node in ("node", "node01", "0", "all", "node0/..", 0)),
        *(({"2M": {"node0": n}}, "pages from 0") for n in (-1, True, "many", 1 << 40, None)),
        ({"2M": 512}, "how many per node"),
        (512, "write a mapping like"),
    ],
)
def test_what_may_not_be_said(said: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        profile(said)


def test_what_may() -> None:
    found = gathered([profile({"2M": {"node0": 512, "node1": "keep"}, "1G": {"node1": "default"}})])
    assert found is not None
    said = {key: str(value) for key, value in found.values["hugepages"].items()}
    assert said["2M/node0"] == "512 pages"
    assert said.keys() == {"2M/node0", "1G/node1"}
    assert gathered([profile("keep")]) is None


def test_profiles_that_differ_are_a_conflict() -> None:
    found = gathered([profile({"2M": {"node0": 8}}, "a"), profile({"2M": {"node0": 9}}, "b")])
    assert found is not None
    (said,) = found.conflicts
    assert "host hugepages 2M/node0: profiles a and b want 8 pages and 9 pages; a goes" in said


def test_each_goes_back_by_itself(host: PagesHost) -> None:
    host.put(path(1), "3\n")
    both = profile({"2M": {"node0": 16, "node1": 8}})
    assert len(host.made(both)) == 2
    assert host.made(both) == []
    host.put(path(0), "1\n")
    assert host.made(both) == ["host hugepages 2M/node0: 1 pages -> 16 pages"]
    assert host.made(profile({"2M": {"node0": 16}})) == [
        "host hugepages 2M/node1: 8 pages -> 3 pages"
    ]
    host.restart()
    host.made()
    assert (host.get(path(0)), host.get(path(1))) == ("0", "3")
    assert host.baseline.of(HOST) == {}


@pytest.mark.parametrize("free", [0, 100])
def test_what_is_really_had_is_told_and_not_tried_for_ever(host: PagesHost, free: int) -> None:
    host.free = free
    wanted = profile({"2M": {"node0": 400}})
    host.made(wanted)
    assert host.get(path(0)) == str(free)
    state, reason = host.shown()
    assert f"2M/node0: {free} of 400 pages: there is no more memory in one piece" in reason
    assert state == "unsupported"
    assert card_state(host.card, ()) == PARTIAL
    writes = host.writes
    host.made(wanted)
    assert host.writes == writes
    assert host.card.came_out(disruptive=False)  # tried again in a while
    host.made()
    assert host.get(path(0)) == "0"


def test_less_than_there_was_is_nobodys_quarrel(host: PagesHost) -> None:
    """In a pass that repairs, what the kernel can no longer make was taken by no other program."""
    wanted = profile({"2M": {"node0": 400}})
    host.made(wanted)
    host.put(path(0), "7\n")
    host.free, before = 90, host.writes
    gate = host.gate()
    rounds = Rounds(host.card, host.baseline, None, gate)
    while not rounds.turn(Once(host.kernel, many=False)):
        pass
    assert rounds.outcome.pending == ()
    assert host.writes - before <= 4
    assert "90 of 400 pages" in host.shown()[1]


def test_what_is_in_use_when_it_goes_back_keeps_its_record(
    host: PagesHost, caplog: pytest.LogCaptureFixture
) -> None:
    host.made(profile({"2M": {"node0": 64}}))
    host.used = 5
    host.made()
    assert host.get(path(0)) == "5"
    assert "5 more than 0 pages are in use, keeping its record" in caplog.text
    host.used = 0
    host.restart()
    host.made()
    assert host.get(path(0)) == "0"
    assert host.baseline.of(HOST) == {}


def test_no_node_is_left_without_memory(host: PagesHost) -> None:
    host.made(profile({"2M": {"node0": 300, "node1": 16}, "1G": {"node0": 1}}))
    assert [host.get(path(0)), host.get(path(0, 1 << 20)), host.get(path(1))] == ["300", "0", "16"]
    assert (
        "1 of 3 cannot be set: 1G/node0: 1 pages beside 600 MB are more than 90 % of the"
        in (host.shown()[1])
    )
    host.made(profile({"2M": {"node0": 600}}))
    assert host.get(path(0)) == "300"
    host.made(profile({"2M": {"node0": 0}, "1G": {"node0": 1}}))
    assert [host.get(path(0)), host.get(path(0, 1 << 20))] == ["0", "0"]


def test_what_the_host_does_not_have_is_told(host: PagesHost) -> None:
    host.made(profile({"2M": {"node7": 5, "node0": 5}, "16M": {"node0": 1}}))
    assert host.get(path(0)) == "5"
    reason = host.shown()[1]
    assert "2M/node7: this host has no such node, or no pages of 2M there" in reason
    assert "16M/node0: this host has no" in reason
