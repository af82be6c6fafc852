"""Which interrupt serves which queue, told by the names drivers give their interrupts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

RX = "rx"
TX = "tx"
COMBINED = "rxtx"


@dataclass(frozen=True, slots=True, order=True)
class Vector:
    """One interrupt of a card: what it serves (rx, tx, rxtx) and the queue's index."""

    role: str
    queue: int
    irq: int

    @property
    def key(self) -> str:
        """How plans and status name it: ``rxtx-3``."""
        return f"{self.role}-{self.queue}"


_NAMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), role)
    for pattern, role in (
        # igb, ixgbe, i40e, ice, iavf, idpf, vmxnet3, ena, mana, bnx2x's fp, nfp
        (r"(?i)-(?:txrx|rxtx|tx-rx|rx-tx|fp)-(\d+)$", COMBINED),
        (r"(?i)-rx-(\d+)$", RX),
        (r"(?i)-tx-(\d+)$", TX),
        (r"^virtio\d+-input\.(\d+)$", RX),
        (r"^virtio\d+-output\.(\d+)$", TX),
        (r"^mlx5_comp(\d+)(?:@|$)", COMBINED),
        (r"^mlx4-(\d+)(?:@|$)", COMBINED),
        (r"^mana_q(\d+)(?:@|$)", COMBINED),
        # bnxt: eth0-TxRx-0, older eth0-rx-0; nfp: eth0-rxtx-0; hv_netvsc has no vectors of its own
        (r"(?i)-q(\d+)$", COMBINED),
        (r"(?i)-(?:ch|queue|comp)[-.]?(\d+)$", COMBINED),
    )
)
_GVE_BLOCK = re.compile(r"ntfy-blo?c?k\.(\d+)")
_BARE_NUMBER = re.compile(r"-(\d+)$")


def parse_vectors(names: Mapping[int, str], ifname: str) -> tuple[Vector, ...]:
    """Sort a card's interrupts (number -> name as in /proc/interrupts) into queue vectors.

    Control vectors (config, async, fdir, event, …) are left out. A card with a single interrupt
    under its own name (r8169, igb without MSI-X) serves queue 0 with it.

    Source: the drivers' request_irq names, as listed in docs/placement or /proc/interrupts.
    """
    blocks = {
        irq: int(match[1]) for irq, name in names.items() if (match := _GVE_BLOCK.search(name))
    }
    if blocks:
        return _gve_vectors(blocks)
    found = [vector for irq, name in names.items() if (vector := _parse_name(irq, name, ifname))]
    if not found and len(names) == 1:
        ((irq, name),) = names.items()
        found = [Vector(COMBINED, 0, irq)] if name == ifname else []
    return tuple(sorted(found))


def _parse_name(irq: int, name: str, ifname: str) -> Vector | None:
    if ":fdir-" in name:  # i40e's flow director: control, whatever its ending
        return None
    for pattern, role in _NAMES:
        if match := pattern.search(name):
            return Vector(role, int(match[1]), irq)
    # mlx4, tg3, bnx2 and others: the card's name and the queue's number, "eth0-3"
    if name.startswith(f"{ifname}-") and (number := _BARE_NUMBER.fullmatch(name[len(ifname) :])):
        return Vector(COMBINED, int(number[1]), irq)
    return None


def _gve_vectors(blocks: Mapping[int, int]) -> tuple[Vector, ...]:
    """gve numbers its notify blocks: the lower half transmit, the upper half receive."""
    half = max(len(blocks) // 2, 1)
    return tuple(
        sorted(
            Vector(TX if block < half else RX, block % half, irq) for irq, block in blocks.items()
        )
    )
