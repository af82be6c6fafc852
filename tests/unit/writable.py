"""A described machine whose kernel takes writes: the one fake kernel of the unit tests.

What is written to a file is what the file shows from then on; channels, the RSS table and qdiscs
are answered as they were set, with what a kernel does besides: queues come and go with their files
and interrupts, an mq has leaves.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, cast

from netuned.errors import KernelError
from netuned.kernel import rules
from netuned.kernel.contexts import ContextTable
from netuned.kernel.features import ACTIVE, CHANGEABLE, WANTED
from netuned.kernel.hashing import FLOWS, HashValues, key_of
from netuned.kernel.questions import (
    CHANNELS,
    CONTEXTS,
    FEATURES,
    HASHING,
    NAPIS,
    QDISCS,
    RSS_TABLE,
    RULES,
    RX_RINGS,
    A,
    Question,
    Setting,
)
from netuned.kernel.recorded import File, Link, Node, RecordedCalls, RecordedFiles, RecordedKernel
from netuned.kernel.rtnl import ROOT, QdiscEntry
from netuned.snapshots.described import parse
from netuned.snapshots.expand import expand
from netuned.values import FlowRule

Numbers = Setting[Mapping[str, int]]
CLASS_NET = "/sys/class/net"
LASTING = "/byte_queue_limits/"
"""What a queue keeps while it is closed, and nobody can see."""
INSTANCES = {
    "napi_defer_hard_irqs": "defer-hard-irqs",
    "gro_flush_timeout": "gro-flush-timeout",
    "threaded": "threaded",
}
"""Files of a card, and what of its NAPI instances is set by them."""
OWN_HANDLES = 0x8001 << 16
"""From here on the kernel numbers qdiscs that came without a handle."""


class WritableKernel(RecordedKernel):
    """A described machine that takes writes.

    ``fails`` are the errno of writes by their number, from 1 on; ``shows`` is what a file shows of
    what is written to it.
    """

    def __init__(self, text: str) -> None:
        self.fails: dict[int, int] = {}
        self.shows: Callable[[str], str] = lambda text: text
        self.instances: dict[str, int] = {}
        """By name, where a card is another one than its place tells."""
        self._machine = parse(text)
        self._written: dict[str, bytes] = {}
        made = expand(self._machine)
        super().__init__(made.tree, made.answers)
        self.files = self._files = _Files(self)
        self.ethtool = self.ethtool_netlink = self.rtnl = _Calls(self)

    def set(self, setting: Setting[A], ifindex: int, values: Mapping[str, int]) -> None:
        """Numbers are as they were set; one that the card does not have is refused by its name."""
        if setting.name == CHANNELS.name:
            self.ethtool.set_channels(ifindex, **values)
            return
        found = self.get(cast("Numbers", setting), ifindex)
        has = dict(found)
        self.begin_write(setting.what)
        if setting.name == FEATURES.name:
            for name, value in values.items():
                has[name] = has[name] & CHANGEABLE and (ACTIVE | WANTED) * value | CHANGEABLE
            values = {}
        for name, value in values.items():
            if name not in has or value > has.get(f"{name}-max", value):
                raise KernelError("set", setting.what, errno.EINVAL, "refused", name)
            has[name] = value
        self.answers.cards(cast("Numbers", setting))[ifindex] = has

    def set_instances(self, path: str, data: bytes) -> None:
        """What is written to a card's file goes to all of its NAPI instances."""
        card, _, file = self.files.resolve(path).rpartition("/")
        if name := INSTANCES.get(file):
            ifindex = self.files.read_int(f"{card}/ifindex", 0)
            cards = cast("dict[int, Mapping[str, int]]", self.answers.cards(NAPIS))
            if ifindex in cards:
                cards[ifindex] = {
                    key: int(data) if key.endswith(f" {name}") else number
                    for key, number in cards[ifindex].items()
                }

    def begin_write(self, what: str) -> None:
        """Count a write. Raises: KernelError, if it is one of ``fails``."""
        self.writes += 1
        if number := self.fails.get(self.writes):
            raise KernelError("write", what, number)

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Have a file show this, whoever wrote it."""
        parent, _, name = self.files.resolve(path).rpartition("/")
        self._written[path] = data
        self.tree.add_directory(parent)[name] = File(data, mode)

    def open_queues(self, ifindex: int, count: int) -> None:
        """A card has so many queues now, all of them new; other cards are as they were."""
        cards = list(self._machine.cards)
        card = cards[ifindex - 2]
        cards[ifindex - 2] = replace(card, queues=count)
        self._machine = replace(self._machine, cards=tuple(cards))
        device = f"{CLASS_NET}/{card.name}/device/msi_irqs"
        own = self.files.listdir(device) if self.files.exists(device) else []
        lost = (f"{CLASS_NET}/{card.name}/", *(f"/proc/irq/{number}/" for number in own))
        self._written = {
            p: data for p, data in self._written.items() if LASTING in p or not p.startswith(lost)
        }
        made = expand(self._machine)
        self.tree.root, self.tree._directories = made.tree.root, made.tree._directories
        self._files.forget_places()
        changed: tuple[Question[Any], ...] = (CHANNELS, RSS_TABLE, RX_RINGS, NAPIS, QDISCS)
        for question in changed:
            anew = made.answers.cards(question)
            self.answers.cards(question)[ifindex] = anew[ifindex]
        for path, data in self._written.items():
            if LASTING not in path or self.files.exists(path):
                self.put(path, data)

    def rename(self, name: str, new: str) -> None:
        """A card has another name."""
        entries = self.tree.add_directory(CLASS_NET)
        entries[new] = entries.pop(name)
        self._files.forget_places()

    def remove(self, name: str) -> Node:
        """A card leaves; what is returned brings it back by ``add``."""
        self._files.forget_places()
        return self.tree.add_directory(CLASS_NET).pop(name)

    def add(self, name: str, card: Node) -> None:
        """A card comes back."""
        self.tree.add_directory(CLASS_NET)[name] = card


class _Files(RecordedFiles):
    """The files of the machine's tree."""

    def __init__(self, kernel: WritableKernel) -> None:
        super().__init__(kernel.tree)
        self._kernel = kernel

    def write(self, path: str, data: bytes) -> None:
        self.read(path)
        self._kernel.begin_write(path)
        self._kernel.set_instances(path, data)
        self._kernel.put(path, f"{self._kernel.shows(data.decode())}\n".encode())

    def forget_places(self) -> None:
        self._parents.clear()

    def inode(self, path: str) -> int:
        """Of a card, by its place in sysfs: it is the same under another name."""
        _, _, name = path.rpartition("/")
        node = self._tree.find(path, follow=False)[1]
        own = zlib.crc32(node.target.encode()) if isinstance(node, Link) else 0
        return self._kernel.instances.get(name, own)


class _Calls(RecordedCalls):
    def __init__(self, kernel: WritableKernel) -> None:
        super().__init__(kernel)
        self._writable = kernel

    def set_channels(
        self,
        ifindex: int,
        *,
        rx: int | None = None,
        tx: int | None = None,
        combined: int | None = None,
    ) -> None:
        self._writable.begin_write("channels")
        count = combined if combined is not None else rx
        assert count is not None
        self._writable.open_queues(ifindex, count)

    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None:
        """An empty table is the driver's own: even over all queues."""
        self._writable.begin_write("rss")
        size = len(self.rss_table(ifindex))
        rings = self.rx_rings(ifindex)
        table = tuple(entries) or tuple(i % rings for i in range(size))
        self._writable.answers.cards(RSS_TABLE)[ifindex] = table

    def set_hashing(self, ifindex: int, values: HashValues) -> None:
        """As net/ethtool/rss.c: what is or becomes symmetric must be so of every kind of flow."""
        self._writable.begin_write("hashing")
        has = self.hashing(ifindex)
        given = dict(values)
        if "key" in given:
            given["key"] = key_of(given["key"])  # type: ignore[arg-type, assignment]  # bytes
        fields: Any = {name: given.pop(name) for name in FLOWS if name in given}
        will = replace(has, **cast("Any", given), fields={**has.fields, **fields})
        halves = [bits & 0x50 for bits in will.fields.values()]
        if (has.symmetric or will.symmetric) and any(
            half != bits >> 1 & 0x50
            for half, bits in zip(halves, will.fields.values(), strict=True)
        ):
            raise KernelError("set", "hashing", errno.EINVAL, "not symmetric", next(iter(values)))
        self._writable.answers.cards(HASHING)[ifindex] = will

    def _contexts(self, ifindex: int) -> ContextTable:
        return self._writable.get(CONTEXTS, ifindex)

    def _put_contexts(self, ifindex: int, contexts: dict[int, tuple[int, ...]]) -> None:
        table = replace(self._contexts(ifindex), contexts=contexts)
        self._writable.answers.cards(CONTEXTS)[ifindex] = table

    def create_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        """As the ioctl, by which the kernel gives the lowest number that is free."""
        self._writable.begin_write("contexts")
        has = dict(self._contexts(ifindex).contexts)
        made = next(number for number in count(1) if number not in has)
        if made != context or max(entries) >= self.rx_rings(ifindex):
            raise KernelError("set", "contexts", errno.EINVAL)
        self._put_contexts(ifindex, {**has, made: tuple(entries)})

    def set_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        self._writable.begin_write("contexts")
        has = dict(self._contexts(ifindex).contexts)
        if context not in has:
            raise KernelError("set", "contexts", errno.ENOENT)
        self._put_contexts(ifindex, {**has, context: tuple(entries)})

    def delete_context(self, ifindex: int, context: int) -> None:
        """As Linux since 6.13: none is deleted that a rule goes to."""
        self._writable.begin_write("contexts")
        has = dict(self._contexts(ifindex).contexts)
        table = self._writable.get(RULES, ifindex)
        if any(rule.to == f"context {context}" for rule in table.rules.values()):
            raise KernelError("set", "contexts", errno.EBUSY)
        if has.pop(context, None) is None:
            raise KernelError("set", "contexts", errno.ENOENT)
        self._put_contexts(ifindex, has)

    def set_rule(self, ifindex: int, location: int, rule: FlowRule) -> None:
        """As drivers that have a rule but once, and tell of it what the ioctl holds."""
        self._writable.begin_write("flow rules")
        rule = rules.decode(rules.encode(0, location, rule))
        table = self._writable.get(RULES, ifindex)
        kind, _, number = rule.to.partition(" ")
        if kind == "context" and int(number) not in self._contexts(ifindex).contexts:
            raise KernelError("set", "flow rules", errno.EINVAL)
        if any(at != location and has == rule for at, has in table.rules.items()):
            raise KernelError("set", "flow rules", errno.EEXIST)
        if location >= table.size:
            raise KernelError("set", "flow rules", errno.EINVAL)
        kept = {**table.rules, location: rule}
        self._writable.answers.cards(RULES)[ifindex] = replace(table, rules=kept)

    def delete_rule(self, ifindex: int, location: int) -> None:
        self._writable.begin_write("flow rules")
        table = self._writable.get(RULES, ifindex)
        if location not in table.rules:
            raise KernelError("set", "flow rules", errno.EINVAL)
        kept = {at: rule for at, rule in table.rules.items() if at != location}
        self._writable.answers.cards(RULES)[ifindex] = replace(table, rules=kept)

    def replace_qdisc(
        self, ifindex: int, parent: int, handle: int, kind: str, parameters: Mapping[str, int]
    ) -> None:
        self._writable.begin_write("qdisc")
        entries = list(self.qdiscs()[ifindex])
        if parent == ROOT:
            leaves = [entry for entry in entries if entry.parent != ROOT] if kind == "mq" else []
            entries = [replace(e, parent=handle | e.parent & 0xFFFF) for e in leaves]
        own = OWN_HANDLES + (len(entries) << 16)
        entries = [entry for entry in entries if entry.parent != parent]
        entry = QdiscEntry(kind, handle or own, parent, dict(parameters))
        self._set(ifindex, sorted([*entries, entry], key=lambda e: (e.parent != ROOT, e.parent)))

    def delete_qdisc(self, ifindex: int, parent: int = ROOT, handle: int = 0) -> None:
        """The kernel's own root comes back, and with it its leaves."""
        self._writable.begin_write("qdisc")
        leaves = [entry for entry in self.qdiscs()[ifindex] if entry.parent != ROOT]
        own = [QdiscEntry("pfifo_fast", 0, e.parent & 0xFFFF, {}) for e in leaves]
        kind = "mq" if own else "pfifo_fast"
        self._set(ifindex, [QdiscEntry(kind, 0, ROOT, {}), *own])

    def _set(self, ifindex: int, entries: Sequence[QdiscEntry]) -> None:
        self._writable.answers.cards(QDISCS)[ifindex] = tuple(entries)
