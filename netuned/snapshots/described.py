"""Described machines: ten lines of YAML stand for a host that nobody here owns.

What comes out is what a snapshot of such a host would be, so everything reads it as any other.
docs/snapshots.md describes the keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.kernel.recorded import RecordedKernel
from netuned.profiles.scalars import listed, parse_speed_mbps, shown
from netuned.profiles.yamlreading import parse_yaml
from netuned.profiles.yamltree import (
    Entry,
    Items,
    Node,
    Position,
    Scalar,
    Table,
    written,
)
from netuned.records import dataclass
from netuned.regex import regex
from netuned.snapshots.drivers import DRIVERS, UPPER_KINDS
from netuned.snapshots.expand import expand
from netuned.snapshots.spec import CardSpec, MachineSpec
from netuned.text import did_you_mean, escape

MAX_CPUS = 4096
MAX_NODES = 64
MAX_CARDS = 1024
MAX_QUEUES = 2048
MAX_ALL_QUEUES = 1 << 16

NUMBERINGS = ("linux", "adjacent")
MACHINE_KEYS = (
    *("nodes", "l3s", "cores", "threads", "efficiency", "packages", "nodes_without_cpus"),
    *("distances", "numbering", "isolated", "nohz_full", "offline", "cards"),
)
CARD_KEYS = ("name", "driver", "count", "node", "queues", "maximum", "speed", "irqs", "mac")
UPPER_KEYS = ("name", "kind", "over", "queues")

_NAME = regex(r"[^\s/:%]{1,15}")
_MAC = regex(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def machine(text: str, path: str = "machine.yaml") -> RecordedKernel:
    """The described machine; ``path`` is what errors name. Raises: ProfileError, with its place."""
    return expand(parse(text, path))


def parse(text: str, path: str = "machine.yaml") -> MachineSpec:
    """What a description says, with what it leaves out filled in. Raises: ProfileError."""
    root, errors = parse_yaml(text.encode("utf-8", "surrogateescape"), path)
    if errors:
        raise errors[0]
    if not isinstance(root, Table):
        raise ProfileError(
            path, 1, 1, "", "a described machine is a mapping of keys, like `cores: 8`"
        )
    return _read_machine(_Section(root, "", MACHINE_KEYS))


@dataclass(slots=True)
class _Section:
    """A mapping and where it is. Every method raises ProfileError at the value's place."""

    table: Table
    path: str
    allowed: Sequence[str]
    entries: dict[str, Entry] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = self.table.entries
        for name, entry in self.entries.items():
            if name not in self.allowed:
                hint = did_you_mean(name, self.allowed)
                problem = f"unknown key; {hint or f'allowed here: {listed(self.allowed)}'}"
                raise _wrong(entry.key, self.key(name), problem)

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, problem: str) -> ProfileError:
        entry = self.entries.get(name)
        return _wrong(
            entry.value.position if entry else self.table.position, self.key(name), problem
        )

    def scalar(self, name: str) -> str | int | float | bool | None:
        """The value; None where the key is absent."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        if not isinstance(entry.value, Scalar) or entry.value.value is None:
            raise self.wrong(name, "a single value is meant here")
        return entry.value.value

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        value = self.scalar(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"{shown(value)} is not a whole number from {low} to {high}")
        return int(value)

    def word(self, name: str, words: Sequence[str], default: str) -> str:
        value = self.scalar(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in words:
            hint = did_you_mean(value, words)
            problem = f"{shown(value)} is not known here; {hint or f'write {listed(words)}'}"
            raise self.wrong(name, problem)
        return value

    def cpus(self, name: str, among: CpuSet) -> CpuSet:
        value = self.scalar(name)
        if value is None:
            return CpuSet()
        try:
            found = CpuSet.parse_list(written(value))
        except ValueError as error:
            raise self.wrong(name, f"{error}; write a CPU list like 0-3,8") from None
        if beyond := found - among:
            raise self.wrong(name, f"CPUs {beyond} are not there; the machine has CPUs {among}")
        return found


def _read_machine(section: _Section) -> MachineSpec:
    nodes = section.whole("nodes", 1, MAX_NODES, 1)
    spec = MachineSpec(
        nodes=nodes,
        l3s=section.whole("l3s", 1, MAX_CPUS, 1),
        cores=section.whole("cores", 1, MAX_CPUS, 1),
        threads=section.whole("threads", 1, 8, 1),
        efficiency=section.whole("efficiency", 0, MAX_CPUS, 0),
        packages=section.whole("packages", 1, nodes, nodes),
        bare_nodes=section.whole("nodes_without_cpus", 0, MAX_NODES, 0),
        adjacent=section.word("numbering", NUMBERINGS, "linux") == "adjacent",
    )
    if nodes % spec.packages:
        raise section.wrong("packages", f"{nodes} nodes cannot be divided into {spec.packages}")
    count = nodes * spec.l3s * (spec.cores * spec.threads + spec.efficiency)
    if count > MAX_CPUS:
        raise section.wrong("cores", f"these are {count} CPUs, at most {MAX_CPUS} can be described")
    cpus = CpuSet.of(range(count))
    offline = section.cpus("offline", cpus)
    if offline == cpus:
        raise section.wrong("offline", "at least one CPU is online")
    spec = replace(
        spec,
        offline=offline,
        isolated=section.cpus("isolated", cpus),
        nohz_full=section.cpus("nohz_full", cpus),
        distances=_read_distances(section, nodes + spec.bare_nodes),
    )
    return replace(spec, cards=tuple(_read_cards(section, spec, count - len(offline))))


def _read_distances(section: _Section, nodes: int) -> tuple[tuple[int, ...], ...]:
    """A matrix, row by row as in the kernel's files; one number is that of all other nodes."""
    entry = section.entries.get("distances")
    if entry is None or not isinstance(entry.value, Items):
        remote = section.whole("distances", 11, 255, 21)
        return tuple(tuple(10 if a == b else remote for b in range(nodes)) for a in range(nodes))
    rows = tuple(_distance_row(row, nodes) for row in entry.value.items)
    if len(rows) != nodes:
        raise section.wrong(
            "distances", f"these are {len(rows)} rows, the machine has {nodes} nodes"
        )
    for number, row in enumerate(rows):
        if row[number] != 10:
            raise section.wrong("distances", f"the distance of node {number} to itself is 10")
    return rows


def _distance_row(row: Node, nodes: int) -> tuple[int, ...]:
    values = (
        [item.value for item in row.items if isinstance(item, Scalar)]
        if isinstance(row, Items)
        else []
    )
    good = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and 10 <= v <= 255]
    if len(good) != nodes or len(values) != nodes:
        problem = f"a row is a list of {nodes} distances from 10 to 255"
        raise _wrong(row.position, "distances", problem)
    return tuple(map(int, good))


def _read_cards(section: _Section, machine: MachineSpec, online: int) -> Iterator[CardSpec]:
    entry = section.entries.get("cards")
    if entry is None:
        return
    if not isinstance(entry.value, Items):
        raise _wrong(entry.value.position, "cards", "a list of cards is meant here")
    names: dict[str, None] = {}
    ports: set[str] = set()
    queues = 0
    for index, item in enumerate(entry.value.items):
        key = f"cards[{index}]"
        if not isinstance(item, Table):
            raise _wrong(item.position, key, "a card is a mapping, like {name: eth0, driver: ice}")
        upper = "kind" in item.entries or "over" in item.entries
        card_section = _Section(item, key, UPPER_KEYS if upper else CARD_KEYS)
        read = (
            _read_upper(card_section, names) if upper else _read_card(card_section, machine, online)
        )
        for card in read:
            if card.name in names or card.name == "lo":
                raise card_section.wrong("name", f"there is a card {shown(card.name)} already")
            if card.kind and not UPPER_KINDS[card.kind].single:
                if twice := ports & set(card.over):
                    problem = f"{min(twice)} is a port of another card already"
                    raise card_section.wrong("over", problem)
                ports.update(card.over)
            names[card.name] = None
            queues += card.queues
            if len(names) > MAX_CARDS:
                raise _wrong(item.position, key, f"more than {MAX_CARDS} cards")
            if queues > MAX_ALL_QUEUES:
                raise _wrong(item.position, key, f"more than {MAX_ALL_QUEUES} queues in all")
            yield card


def _read_card(section: _Section, machine: MachineSpec, online: int) -> Iterator[CardSpec]:
    """One entry's cards: ``count`` of them, their names numbered on."""
    if "driver" not in section.entries:
        problem = f"a card has a driver ({listed(sorted(DRIVERS))}), or a kind and what it is over"
        raise section.wrong("driver", problem)
    driver = section.word("driver", sorted(DRIVERS), "")
    model = DRIVERS[driver]
    queues = section.whole("queues", 1, MAX_QUEUES, 0)
    maximum = section.whole("maximum", 1, MAX_QUEUES, max(model.maximum, queues))
    if queues > maximum:
        raise section.wrong("queues", f"{queues} is more than the maximum of {maximum}")
    if not model.settable and queues > model.maximum:
        raise section.wrong("queues", f"{driver} has {model.maximum} at most")
    nodes = machine.nodes + machine.bare_nodes
    count = section.whole("count", 1, MAX_CARDS, 1)
    card = CardSpec(
        name=_name(section),
        driver=driver,
        node=section.whole("node", -1, nodes - 1, 0 if model.on_node else -1),
        queues=queues or min(maximum, online),
        maximum=maximum,
        speed_mbps=_speed(section, model.speed_mbps),
        irqs=section.cpus("irqs", machine.cpus - machine.offline),
        mac=_mac(section),
    )
    if card.mac and count > 1:
        raise section.wrong("mac", "several cards cannot have one address")
    for name in _numbered(card.name, count):
        if not _NAME.fullmatch(name):
            raise section.wrong("count", f"{shown(name)} is longer than the 15 bytes of a name")
        yield replace(card, name=name)


def _numbered(name: str, count: int) -> Iterator[str]:
    """eth1, eth2, …; a name without a number is numbered from 0."""
    if count == 1:
        yield name
        return
    stem = name.rstrip("0123456789")
    first = int(name[len(stem) :] or 0)
    for number in range(first, first + count):
        yield f"{stem}{number}"


def _read_upper(section: _Section, names: dict[str, None]) -> Iterator[CardSpec]:
    """A bond, VLAN or other card over some that stand before it."""
    kind = section.word("kind", sorted(UPPER_KINDS), "")
    if not kind:
        raise section.wrong("kind", f"what it is is missing: {listed(sorted(UPPER_KINDS))}")
    entry = section.entries.get("over")
    items = (
        (entry.value.items if isinstance(entry.value, Items) else (entry.value,)) if entry else ()
    )
    over = []
    for item in items:
        below = item.value if isinstance(item, Scalar) else None
        if below not in names:
            hint = did_you_mean(below, names)
            problem = f"{shown(below)} is no card that stands before this one"
            raise _wrong(
                item.position, section.key("over"), f"{problem}; {hint}" if hint else problem
            )
        over.append(str(below))
    upper = UPPER_KINDS[kind]
    if not over or (upper.single and len(over) > 1):
        raise section.wrong("over", f"a {kind} is over {'one card' if upper.single else 'cards'}")
    yield CardSpec(
        name=_name(section),
        driver=upper.driver,
        kind=kind,
        over=tuple(dict.fromkeys(over)),
        queues=section.whole("queues", 1, MAX_QUEUES, upper.queues),
    )


def _name(section: _Section) -> str:
    value = section.scalar("name")
    if not isinstance(value, str) or not _NAME.fullmatch(value) or value in (".", ".."):
        quotes = f"; put {shown(value)} in quotes" if isinstance(value, int | float) else ""
        problem = f"a card has a name of 1 to 15 characters, like eth0{quotes}"
        raise section.wrong("name", problem)
    return value


def _speed(section: _Section, default: int) -> int:
    value = section.scalar("speed")
    if value is None:
        return default
    try:
        speed = parse_speed_mbps(str(value))
    except ValueError:
        raise section.wrong("speed", f"{shown(value)} is not a speed like 25G or 1000M") from None
    if not 0 < speed < 1 << 31:
        raise section.wrong("speed", f"{shown(value)} is out of range")
    return speed


def _mac(section: _Section) -> str:
    value = section.scalar("mac")
    if value is None:
        return ""
    if not isinstance(value, str) or not _MAC.fullmatch(value.lower()):
        raise section.wrong("mac", f"{shown(value)} is not an address like 02:00:00:00:00:01")
    return value.lower()


def _wrong(place: Position, key: str, problem: str) -> ProfileError:
    return ProfileError(place.path, place.line, place.column, escape(key), escape(problem))
