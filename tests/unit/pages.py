"""Pages of described machines, with load that was never measured, and a finding that nobody had."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from netuned.counters.sample import USER_HZ, CardSample, Sample
from netuned.cpuset import CpuSet
from netuned.doctor.finding import CERTAIN, Finding
from netuned.fleet.files import HostFile
from netuned.fleet.groups import Group, Unread, grouped
from netuned.fleet.planned import Planned, Question, plan_host
from netuned.hardware.host import Host
from netuned.hardware.nic import Nic
from netuned.hardware.topology import Topology
from netuned.profiles.loader import DEFAULT_DIRECTORIES, ProfileSet, load
from netuned.report import hosts
from netuned.report.page import Page
from netuned.report.seen import Seen, see
from netuned.snapshots import offline, unaided
from netuned.snapshots.described import machine
from netuned.status import Applied, SettingStatus, Status
from netuned.values import Told

MACHINE = """
nodes: 2
l3s: 2
cores: 8
threads: 2
isolated: 4-5
cards:
  - {name: eth0, driver: ice, node: 0, queues: 14, maximum: 64, speed: 100G, irqs: 0-13}
  - {name: eth1, driver: mlx5_core, node: 1, queues: 8, irqs: "16,18,20,22,24,26,28,30"}
  - {name: eth2, driver: igb, node: 0, irqs: 0-7}
"""
PROFILE = """
match: [{driver: [ice, mlx5_core]}]
cpus: {app: "32-35 | 6-7", irq: local & housekeeping & first-threads - app}
channels: {combined: auto}
irq: {cpus: irq}
rps: {cpus: auto}
xps: {cpus: auto}
"""
LARGE = """
nodes: 8
l3s: 8
cores: 8
threads: 2
cards: [{name: eth0, driver: ice, node: 0, queues: 64, maximum: 64, count: 4, irqs: 0-1023}]
"""
AT = 1_795_000_000.0


REPAIR = ("2026-11-26 14:30:07", "eth2", "rps rx 0-3", "0", "2-5", "drift, by tune.sh (pid 7)")
FINDING = Finding(
    "few-cpus",
    62.5,
    "CPUs 0-7 take 92 % of the interrupts, 8 of 32",
    "What waits for them waits while 24 CPUs have nothing to do.",
    {"interrupts on CPU 0": 1_204_331},
    CERTAIN,
    "eth2",
    ('match: [{name: "eth2"}]', "irq: {cpus: local & housekeeping}"),
    "netunedctl plan eth2.yaml",
)
"""Nobody had it."""


def page(described: str = MACHINE, *, measured: bool = True, profile: str = PROFILE) -> Page:
    """The page of a described machine."""
    kernel = machine(described)
    profiles = _profiles(profile)
    known = offline.host_and_desired(kernel, profiles)
    what = load_of(known[0]) if measured else None
    status = _as_kept(unaided.look_at(kernel, profiles, known))
    why = "" if measured else "nobody asked for it"
    seen = _steered(see(kernel, profiles, known, status, what, why))
    plan = offline.plan(kernel, profiles, known)
    return Page(seen, status, plan, AT, "a described machine", (), (FINDING,), (REPAIR,))


def _profiles(text: str) -> ProfileSet:
    files = {"edge.yaml": text.encode()}
    found = load(DEFAULT_DIRECTORIES, recorded={DEFAULT_DIRECTORIES[0]: files})
    assert not found.errors
    return found


def load_of(host: Host) -> Sample:
    """Ten seconds in which the first queues have the most to do."""
    cpus, cards = {cpu: _times(3, 1) for cpu in host.topology.online}, {}
    for ifindex, nic in host.nics.items():
        interrupts, rx = {}, {}
        for vector, affinity in zip(nic.vectors, nic.affinity, strict=True):
            packets = 900_000 // (vector.queue + 1)
            rx[vector.queue] = {"packets": packets, "bytes": packets * 800}
            interrupts[vector.irq] = {affinity.first: packets // 4}
            cpus[affinity.first] = _times(
                90 // (vector.queue % 8 + 1), 60 // (vector.queue % 8 + 1)
            )
        whole = sum(count["packets"] for count in rx.values())
        totals = {"rx_packets": whole, "rx_bytes": whole * 800, "rx_dropped": whole // 10_000}
        cards[ifindex] = CardSample(nic.name, totals, rx=rx, interrupts=interrupts)
    return Sample(10.0, cpus, cards, seconds=10.0)


def _times(busy: int, softirq: int) -> dict[str, int]:
    """Percents of ten seconds as a CPU counts them."""
    percent = 10 * USER_HZ // 100
    rest = {"user": (busy - softirq) * percent, "idle": (100 - busy) * percent}
    return {**rest, "softirq": softirq * percent}


def _steered(seen: Seen) -> Seen:
    """The last card hands packets on to other CPUs, and is sent by from them."""
    if not seen.cards:
        return seen
    last = seen.cards[-1]
    near = [CpuSet(0b1111 << 2 * n % 16) for n in range(len(last.seats))]
    steered = zip(last.seats, near, strict=True)
    seats = tuple(replace(seat, rps=cpus, xps=CpuSet(cpus.bits << 8)) for seat, cpus in steered)
    return replace(seen, cards=(*seen.cards[:-1], replace(last, seats=seats)))


def _as_kept(status: Status) -> Status:
    """As of a daemon that has repaired each setting of the first card once."""
    first = status.nics[:1]
    kept = (replace(nic, settings=tuple(map(_repaired, nic.settings))) for nic in first)
    return replace(status, nics=(*kept, *status.nics[1:]))


def _repaired(setting: SettingStatus) -> SettingStatus:
    last = Applied(AT - 60, setting.tunable, "", setting.found, setting.wanted, "drift")
    return replace(setting, last_change=last, repairs=1)


HOSTILE = (
    "</title></style></script></svg></pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    "&lt;{{ 7 * 7 }}{% raw %}\x1b]0;x\u202e\udcff"
)


FLEET = {
    **{f"web{n:02}": ("ice", f"{n}-40", 16) for n in range(1, 13)},
    "core1": ("mlx5_core", "0-31", 32),
    "old1": ("igb", "0", 8),
    "old2": ("e1000e", "0", 1),
}
NEW = {
    "edge": PROFILE.replace("-first", "first") + "offloads: {rx-gro-hw: on}\n",
    "igb": "match: [{driver: igb}]\nirq: {cpus: 'local & isolated'}\n",
}


def fleet() -> tuple[list[Group[Planned]], list[Unread]]:
    """Hosts of each kind, in groups."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "new").mkdir()
        for name, text in NEW.items():
            (place / f"new/{name}.yaml").write_text(text)
        for name, (driver, irqs, queues) in FLEET.items():
            card = f"{{name: eth0, driver: {driver}, queues: {queues}, irqs: {irqs}}}"
            text = f"nodes: 2\ncores: 16\nthreads: 2\ncards: [{card}]\n"
            (place / f"{name}.yaml").write_text(text)
        files = [HostFile(name, str(place / f"{name}.yaml")) for name in (*FLEET, "gone")]
        asked = Question((str(place / "new"),))
        return grouped(plan_host(asked, file) for file in files)


def hosts_page(groups: list[Group[Planned]], unread: list[Unread]) -> str:
    """The document of a fleet's plan."""
    return "".join(hosts.html(groups, unread, Question(("new",), ("old",)), AT))


def hostile(value: Any, name: str = "") -> Any:
    """The same with every text in it another, but for words that the program itself chooses."""
    if isinstance(value, str):
        return value if name in ("role", "kind", "tunable", "letter") else f"{value}{HOSTILE}"
    if isinstance(value, Nic):
        return replace(value, name=value.name + HOSTILE, driver=HOSTILE, altnames=(HOSTILE,))
    if isinstance(value, Sample):  # by whose names it is looked up what was counted
        return replace(value, missing={HOSTILE: HOSTILE})
    if isinstance(value, Told):
        return Told(HOSTILE)
    if isinstance(value, Mapping):
        return {hostile(key): hostile(item) for key, item in value.items()}
    if isinstance(value, Group):
        return Group(hostile(value.example), [*map(hostile, value.hosts)], value.alike)
    if isinstance(value, tuple):
        items = [hostile(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if is_dataclass(value) and not isinstance(value, CpuSet | Topology | type):
        known = {f.name: getattr(value, f.name) for f in fields(value)}
        return replace(value, **{name: hostile(item, name) for name, item in known.items()})
    return value


VOID = {"meta", "br", "hr", "img", "input", "link"}


class Checked(HTMLParser):
    """Reads a page as a browser would not: whatever is not closed in its order is a mistake."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"{tag} closes itself in SVG alone"
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open[-1:] == ["script"] else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def with_class(self, name: str) -> list[dict[str, str]]:
        return [a for _, a in self.tags if name in a.get("class", "").split()]
