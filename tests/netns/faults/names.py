"""Two cards whose names change at any call, or before a kill: each keeps what is its own.

Each has a profile, and a state before that is unlike the other's, so that what is one's on the
other, or in the other's record, shows. The profiles go by MAC address or by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from netuned.errors import NetunedError
from netuned.hardware.nic import CLASS_NET
from tests.netns.faults.bench import Bench, listening
from tests.netns.faults.calls import DISTURBED, Fault
from tests.netns.faults.card import CARD, OTHER, Card, State
from tests.netns.faults.promises import Promises
from tests.netns.faults.renaming import rename, swap
from tests.netns.faults.runs import Figures

SPARE = "lan9"
PROFILES = {
    CARD: "channels: {combined: max}\nrps: {cpus: 1}\nqdisc: {kind: pfifo, limit: 500}\n",
    OTHER: "rps: {cpus: 0}\nxps: {cpus: none}\nqdisc: {kind: pfifo, limit: 700}\n",
}
"""By the name that the card has at the start. What they set depends on no other card's place."""


class Second(Card):
    """The other card, whose values before are others in all that is set."""

    def prepare(self, *, own_qdiscs: bool) -> None:
        super().prepare(own_qdiscs=True)
        for queue, mask in (
            ("rx-0/rps", b"2"),
            ("rx-1/rps", b"3"),
            ("tx-0/xps", b"1"),
            ("tx-1/xps", b"3"),
        ):
            self.kernel.files.write(f"{CLASS_NET}/{self.name}/queues/{queue}_cpus", mask)
        for leaf in (1, 2):
            self.kernel.rtnl.replace_qdisc(self.ifindex, 9 << 16 | leaf, 0, "pfifo", {"limit": 44})
        self.before = self.state()


class Pair(Bench):
    """Two cards and a loop for both. ``by`` is what profiles name them by: ``mac`` or ``name``."""

    def __init__(self, directory: Path, by: str) -> None:
        super().__init__(Card(), directory)
        self.cards = (self.card, Second(OTHER))
        baseline = self.options.state_directory / "baseline.json"
        self.promised = tuple(Promises(card, self.heard, baseline) for card in self.cards)
        self._by_name = by == "name"
        keys = {card: f"{by}: '{getattr(card.nic(), by)}'" for card in self.cards}
        self._texts = {
            card.name: f"match: [{{kind: veth, {key}}}]\n{PROFILES[card.name]}"
            for card, key in keys.items()
        }
        self._right: dict[tuple[int, str], State] = {}
        """By ifindex and profile: what is in force then."""

    def prepare(self) -> None:
        """Both in their state before, and see what the profiles make of them, without a fault."""
        for card in self.cards:
            card.prepare(own_qdiscs=False)
        asyncio.run(self._learn())
        if self._by_name:
            self.swap()
            asyncio.run(self._learn())
            self.name_back()

    async def _learn(self) -> None:
        self.drop()
        self.calls.restart()
        async with self.loop() as loop:
            await loop.start()
            await self.quiet(loop)
            for card in self.cards:
                self._right[card.ifindex, self._profile_of(card)] = card.state()
            self.remove()
            await loop.reload()
            await self.quiet(loop)
        self.all_kept("at first", profile=False)

    def drop(self) -> None:
        for name, text in self._texts.items():
            path = self.profiles / f"{name}.yaml"
            path.write_text(text)
            path.chmod(0o644)

    def remove(self) -> None:
        for name in self._texts:
            (self.profiles / f"{name}.yaml").unlink(missing_ok=True)

    # Names

    def swap(self) -> None:
        """Each gets the name of the other."""
        swap(*(card.ifindex for card in self.cards))

    def take(self) -> None:
        """The first gets a new name, and the second the one that the first had."""
        first, second = self.cards
        rename(first.ifindex, SPARE)
        rename(second.ifindex, first.name)

    def name_back(self) -> None:
        """As at the start."""
        for number, card in enumerate(self.cards):
            rename(card.ifindex, f"between{number}")
        for card in self.cards:
            rename(card.ifindex, card.name)

    def _profile_of(self, card: Card) -> str:
        return socket.if_indextoname(card.ifindex) if self._by_name else card.name

    # What holds; each raises Wrong

    def all_named(self) -> None:
        """Nothing is on a card that is neither its own before nor what a profile makes of it."""
        for promises in self.promised:
            index = promises.card.ifindex
            promises.named([state for (of, _), state in self._right.items() if of == index])

    def all_kept(self, when: str, *, profile: bool) -> None:
        """Each is as its profile says, or as before; nothing of the other's is in its record."""
        for promises in self.promised:
            card = promises.card
            now = self._right.get((card.ifindex, self._profile_of(card)), card.before)
            promises.kept(now if profile else card.before, f"{card.name} {when}")
            if not profile:
                promises.forgotten()

    # Cases

    async def applying(self, fault: Fault | None) -> None:
        self.drop()
        async with self.loop() as loop:
            self.calls.restart(fault)
            await self.start(loop)
            await self.quiet(loop)
            self.calls.fault = None
            made = list(self.calls.names)
            self.all_named()
            await self.again(loop)
            self.all_kept("after looking again", profile=True)
            self.remove()
            await loop.reload()
            await self.quiet(loop)
            self.all_kept("without the profiles", profile=False)
        self.calls.names = made

    async def restoring(self, fault: Fault | None) -> None:
        self.drop()
        async with self.loop() as loop:
            self.calls.restart()
            await loop.start()
            self.remove()
            self.calls.restart(fault)
            with contextlib.suppress(NetunedError):
                await loop.reload()
            await self.quiet(loop)
            self.calls.fault = None
            made = list(self.calls.names)
            self.all_named()
            await self.again(loop)
            self.all_kept("after looking again", profile=False)
        self.calls.names = made

    async def _recovering(self, *, profile: bool) -> None:
        async with self.loop() as loop:
            self.calls.restart()
            await loop.start()
            await self.quiet(loop)
            if profile:
                self.all_kept("started again", profile=True)
                self.remove()
                await loop.reload()
                await self.quiet(loop)
            self.all_kept("without the profiles", profile=False)

    def recover(self, *, profile: bool) -> str:
        return self.attempt(lambda _: self._recovering(profile=profile), None)

    def repair(self) -> None:
        """After a case that went wrong: as before, whatever is on record."""
        self.remove()
        self.name_back()
        (self.options.state_directory / "baseline.json").unlink(missing_ok=True)
        for card in self.cards:
            card.prepare(own_qdiscs=False)


@contextlib.contextmanager
def pair(directory: Path, by: str) -> Iterator[Pair]:
    """Both cards in their state before, and a loop beside them."""
    made = Pair(directory, by)
    with listening(made):
        made.prepare()
        yield made


def change_names(directory: Path, by: str, *, stride: int = 1, offset: int = 0) -> Figures:
    """Swap names, or pass one on, at each (``stride``-th) call, as profiles come and as they go."""
    figures = Figures()
    start = time.monotonic()
    with pair(directory, by) as made:
        for case in (made.applying, made.restoring):
            if wrong := made.attempt(case, None):
                figures.failed.append(f"{case.__name__} without another name: {wrong}")
                break
            names = list(made.calls.names)
            tried: list[tuple[int, Callable[[], None]]] = [
                (at, change)
                for at, (kind, _) in enumerate(names)
                for change in (made.swap, made.take)
                if kind != "read elsewhere"
            ]
            for at, made.calls.disturb in tried[offset::stride]:
                figures.renames += 1
                if wrong := made.attempt(case, Fault(at, DISTURBED)):
                    how = made.calls.disturb.__name__
                    figures.failed.append(f"{case.__name__}, {how} at {at} {names[at]}: {wrong}")
                    made.repair()
                made.name_back()
    figures.seconds = time.monotonic() - start
    return figures


def change_and_kill(directory: Path, by: str, *, stride: int = 1) -> Figures:
    """Swap names before each (``stride``-th) step of a transaction and kill after it."""
    figures = Figures()
    start = time.monotonic()
    with pair(directory, by) as made:
        made.calls.disturb = made.swap
        for going in (False, True):
            for profile in (True, False):
                for step in range(0, 1000, stride):
                    made.drop()
                    if going:
                        asyncio.run(made.apply_only())
                        made.remove()
                    made.calls.disturb_at = step
                    killed = made.kill_at(step + 1, made.apply_only)
                    made.calls.disturb_at = -1
                    if not killed:
                        made.repair()
                        break
                    figures.kills += 1
                    if profile:
                        made.drop()
                    else:
                        made.remove()
                    if wrong := made.recover(profile=profile):
                        figures.failed.append(f"{going=} {profile=} {step=}: {wrong}")
                        made.repair()
                    made.name_back()
    figures.seconds = time.monotonic() - start
    return figures
