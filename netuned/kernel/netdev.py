"""NetdevNetlink: queues, NAPI instances and the interrupts behind them.

Source: Documentation/netlink/specs/netdev.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netuned.errors import KernelError
from netuned.kernel.genl import Client, unsupported
from netuned.kernel.messages import NAPIS, NETDEV, QUEUES, Message
from netuned.kernel.netlink import NLM_F_DUMP, decoding
from netuned.kernel.tables import GENERIC_HEADER

_QUEUE_TYPES = {0: "rx", 1: "tx"}

QueueInterrupts = dict[tuple[str, int], int]
"""The interrupt behind each queue: ("rx" or "tx", queue) -> number."""


class NetdevNetlink(Client):
    """The netdev family: queues, NAPI instances and their interrupts. In Linux since 6.8."""

    NAME = NETDEV

    def __init__(self) -> None:
        super().__init__()
        self._told: tuple[tuple[bytes, ...], tuple[bytes, ...], dict[int, QueueInterrupts]] | None
        self._told = None

    def napi_interrupts(self, ifindex: int) -> QueueInterrupts:
        """The interrupt behind each queue of a card.

        Empty where the driver does not tell (virtio_net), and while the card is down.

        Raises: UnsupportedError where this kernel lacks the family or the commands; KernelError.
        """
        with decoding(f"queues of ifindex {ifindex}"):
            napis = self._list(NAPIS, "NAPI instances", ifindex)
            if not any("irq" in napi for napi in napis):
                return {}
            queues = self._list(QUEUES, "queues", ifindex)
            return _by_queue(napis, queues).get(ifindex, {})

    def all_napi_interrupts(self) -> Mapping[int, QueueInterrupts]:
        """As ``napi_interrupts``, of all cards that have some, in two requests; the same object
        while nothing has changed. Raises: as that.
        """
        told = self._dump(NAPIS, "NAPI instances"), self._dump(QUEUES, "queues")
        last = self._told
        if last is None or last[0] is not told[0] or last[1] is not told[1]:
            with decoding("queues"):
                napis, queues = (
                    [message.table.numbers(payload, GENERIC_HEADER) for payload in payloads]
                    for message, payloads in zip((NAPIS, QUEUES), told, strict=True)
                )
                last = self._told = *told, _by_queue(napis, queues)
        return last[2]

    def _list(self, message: Message, what: str, ifindex: int) -> list[dict[str, int]]:
        content = message.table.encode({"ifindex": ifindex})
        target = f"{what} of ifindex {ifindex}"
        try:
            payloads = self._ask(message.table, message.get, NLM_F_DUMP, content, "list", target)
        except KernelError as error:
            raise unsupported(error, what, "this kernel does not tell") from None
        return [message.table.numbers(payload, GENERIC_HEADER) for payload in payloads]


def _by_queue(
    napis: Sequence[Mapping[str, int]], queues: Sequence[Mapping[str, int]]
) -> dict[int, QueueInterrupts]:
    """Raises: LookupError for an answer without what it should have."""
    irqs = {napi["id"]: napi["irq"] for napi in napis if "irq" in napi}
    found: dict[int, QueueInterrupts] = {}
    for queue in queues:
        irq = irqs.get(queue["napi-id"]) if "napi-id" in queue else None
        if irq is not None:
            place = _QUEUE_TYPES[queue["type"]], queue["id"]
            found.setdefault(queue["ifindex"], {})[place] = irq
    return found
