"""What the parts of the loop work with: made once, handed to each."""

from __future__ import annotations

from dataclasses import field
from typing import Protocol

from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.nic import Nic
from netuned.kernel import Kernel
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.hold import Hold
from netuned.reconcile.listener import Listener
from netuned.reconcile.slot import Slot
from netuned.reconcile.work import Work
from netuned.records import dataclass


class Surroundings(Protocol):
    """What the parts ask of the loop over all cards."""

    async def replan(self) -> None: ...
    def rescan(self) -> None: ...
    def publish(self) -> None: ...
    def is_paused(self, slot: Slot, /) -> bool: ...
    def stirred(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """The kernel, the threads, what was there before netuned, and the cards that are here.

    ``slots`` are the cards' places in the loop, by ifindex; they come and go.
    """

    kernel: Kernel
    work: Work
    baseline: Baseline
    listener: Listener
    slots: dict[int, Slot]
    loop: Surroundings
    looking: Hold = field(default_factory=Hold)
    """Had by who looks at many cards, the loop or the lookout: neither meets what the other has."""

    async def read_nic(self, ifindex: int) -> Nic | None:
        """The facts of a card that is not in the loop; None if it left. Raises: KernelError."""

        def read() -> Nic:
            return read_nic(self.kernel, ifindex, self.kernel.card_name(ifindex))

        try:
            return await self.work.in_worker(read)
        except KernelError as error:
            if not error.gone:
                raise
            return None
