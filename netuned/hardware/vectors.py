"""Which interrupt serves which queue, told by the names drivers give their interrupts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from netuned.records import dataclass
from netuned.regex import regex

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
    (regex(text, re.IGNORECASE), role)
    for text, role in (
        # with the interface's name: eth0-TxRx-3, i40e-eth0-rx-3, eth0-Tx-Rx-3 (ena), eth0-fp-3
        # (bnx2x, qede), eth0-q3 (be2net), eth0:slice-3 (myri10ge), eth0:rx-3 (stmmac)
        (r"(.*)[-:](?:txrx|rxtx|tx-rx|rx-tx|fp|queue|ch|slice)[-.]?(\d+)", COMBINED),
        (r"(.*)-q(\d+)", COMBINED),
        (r"(.*?)[-:](?:tx-\d+-)?rx[-.]?(\d+)", RX),  # eth0-tx-0-rx-3 (qlcnic) serves both
        (r"(.*)[-:]tx[-.]?(\d+)", TX),
        (r"(.*)-q(\d+)-rx", RX),  # xen-netfront
        (r"(.*)-q(\d+)-tx", TX),
        (r"(.*)_rxq(\d+)", RX),  # hinic
        (r"(.*)_txq(\d+)", TX),
        (r"(.*)_g(\d+)_rx", RX),  # gianfar, which without groups has eth0_rx, eth0_tx and eth0_er
        (r"(.*)_g(\d+)_tx", TX),
        (r"(.*)[-_]rx()", RX),
        (r"(.*)[-_]tx()", TX),
        (r"(.*)\[(\d+)\]", COMBINED),  # netxen
        # with the device's name, for all its ports
        (r"(virtio\d+)-input\.(\d+)", RX),
        (r"(virtio\d+)-output\.(\d+)", TX),
        (r"(mlx5_comp)(\d+)(?:@.*)?", COMBINED),
        (r"(mlx4)-(\d+)@.*", COMBINED),
        (r"(mana_q|mana_msi)(\d+)(?:@.*)?", COMBINED),
    )
)
_LESS_CLEAR: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (regex(text), role)
    for text, role in (
        (r"([^@:\s]+)-(\d+)", COMBINED),  # eth0-3: bnx2, sfc; beside tg3's eth0-rx-1 the link's
        (r"(virtio\d+)-virtqueues()", COMBINED),  # one for all queues, where vectors are scarce
    )
)
_LAST = ((regex(r"(mlx4-comp)-(\d+)@.*"), COMBINED),)
"""Until 4.1; RDMA's where eth0-3 are there, whatever the card is called now."""
_FIRST_NAME = regex(r"eth\d+")
"""What the kernel calls a card until udev does otherwise."""
_CONTROL = regex(
    r"[-:_@](?:fdir|async|mgmnt|mgmt|hwc|config|event|mailbox|mbx|lsc|sp|exc|link|admin|misc"
    r"|aux|cmd|ctrl|ceq|aeq|aeqceq|other|err|notify|pages|ptp|mac|rbdr)(?=$|[-_:@.\d])",
    re.IGNORECASE,
)
_RDMA = ("bnxt_qplib", "bnxt_re", "irdma", "i40iw")
"""Drivers for RDMA that have their interrupts from the card's device."""
_GVE_BLOCK = regex(r".*-ntfy-block\.(\d+)|gve-ntfy-blk(\d+)(?:@.*)?")
_FROM_ONE = frozenset(("mlx4", "mana_msi"))
"""Vector 0 of these is the device's own."""
_FROM_LOWEST = frozenset(("bnxt_en", "tg3", "vmxnet3"))
"""These drivers number interrupts, not queues: rx-0, rx-1, then tx-2, tx-3; tg3 rx-1 first."""
_BY_ORDER = frozenset(("idpf",))
"""This one numbers the device's vectors, some of which are not for queues: TxRx-1, TxRx-3, Tx-4."""
_ALIKE = frozenset(("atlantic", "fec", "macb", "mvpp2", "vif"))
"""These give all interrupts one name, a queue's each in their order, then the link's."""
_GENET = "bcmgenet"
"""Its second interrupt is for the queues of priorities, which only send; one for waking follows."""
_MLX5 = "mlx5_comp"
"""Numbered from 0, but from 1 between 3354822cde5a ("net/mlx5: Use dynamic msix vectors
allocation", 2023) and "net/mlx5: offset comp irq index in name by one" (2024; stable kernels too).
"""
_CUT_OFF = {"bnxt_en": 17}
"""Characters that names had room for (IFNAMSIZ + 2, with the NUL), until BNXT_IRQ_NAME_EXTRA
(2025): all queues of enp4s0f0np0 have the name enp4s0f0np0-TxRx-."""


def parse_vectors(
    names: Mapping[int, str],
    ifname: str,
    driver: str = "",
    *,
    ports: Sequence[str] = (),
    own_name: str = "",
    cards: Collection[str] = (),
    queues: int = 1,
) -> tuple[Vector, ...]:
    """Sort a device's interrupts (number -> actions, comma-separated) into a card's queue vectors.

    Control vectors (config, async, fdir, event, …) are left out. ``ports`` are all cards of the
    device in order, if there are several: an interrupt with the name of one is that one's, one
    without is the first's. Interrupts keep the name that the card had when it was opened. A single
    one (r8169, INTx) serves queue 0. One that several devices share, ``ehci_hcd:usb1,eth0,eth1``,
    is the first card's: ``cards`` are the names of all, ``own_name`` is what drivers may call this
    one besides. Several may have one name: what they serve is known of some drivers only, where the
    card has ``queues`` to receive; of others the first serves queue 0.

    Source: the drivers' request_irq calls; tests/unit/test_vectors.py names the files.
    """
    alone: Mapping[int, str] = {
        irq: name for irq, name in names.items() if "," not in name and not name.startswith(_RDMA)
    }
    if blocks := _gve_blocks(alone):
        return _gve_vectors(blocks)
    alone = _made_whole(alone, ifname, driver)
    for patterns in (_NAMES, _LESS_CLEAR, _LAST):
        if found := _of_card(_parse(alone, patterns), ifname, ports):
            return once(_numbered(found, driver))
    if len(names) == 1:
        ((irq, name),) = names.items()
        if _is_first(name.split(","), ifname, own_name, cards) or not (
            "," in name or ports or _CONTROL.search(name)
        ):
            return (Vector(COMBINED, 0, irq),)
        return ()
    called = {ifname, own_name} | {
        name for name in alone.values() if _FIRST_NAME.fullmatch(name) and name not in cards
    }
    alike = sorted(irq for irq, name in alone.items() if name in called)
    if len({alone[irq] for irq in alike}) != 1 or (ports and alone[alike[0]] != ifname):
        return ()
    if len(alike) == 1 and not all(map(_CONTROL.search, set(alone.values()) - called)):
        return ()
    if driver == _GENET:
        return once(map(Vector, (COMBINED, TX), (0, 1), alike))
    count = queues if driver in _ALIKE else 1
    return once(Vector(COMBINED, queue, irq) for queue, irq in enumerate(alike[:count]))


def _is_first(names: Sequence[str], ifname: str, own_name: str, cards: Collection[str]) -> bool:
    """Whether a card is the first of the cards that share a line."""
    kin = own_name.rstrip("0123456789")  # virtio1, virtio2: cards or not, one of them
    for name in names:
        if name in (ifname, own_name):
            return True
        if name in cards or (kin and name.rstrip("0123456789") == kin):
            return False
    return False


def merge_vectors(
    told: Mapping[tuple[str, int], int], by_name: Iterable[Vector]
) -> tuple[Vector, ...]:
    """What the kernel tells, (rx or tx, queue) -> interrupt, and of other queues what names say.

    An interrupt that the kernel tells of serves just those queues, whatever its name. Of a queue's
    two it may tell one: e1000e's NAPI serves both ways by the receive interrupt, while the other
    (e1000_intr_msix_tx) takes back what was sent, and needs a place as well.
    """
    known = set(told.values())
    queues = dict(told)
    for vector in by_name:
        if vector.irq in known:
            continue
        rx, tx = (RX, vector.queue), (TX, vector.queue)
        for queue in (rx, tx) if vector.role == COMBINED else ((vector.role, vector.queue),):
            queues.setdefault(queue, vector.irq)
        if vector.role != COMBINED and queues.get(rx) == queues.get(tx):
            queues[vector.role, vector.queue] = vector.irq
    return once(
        Vector(COMBINED if queues.get((TX, queue)) == queues.get((RX, queue)) else role, queue, irq)
        for (role, queue), irq in queues.items()
    )


def once(vectors: Iterable[Vector]) -> tuple[Vector, ...]:
    """Sorted, each interrupt and queue once: an interrupt of several goes where the first does."""
    order = {COMBINED: 0, RX: 1, TX: 2}
    by_irq: dict[int, Vector] = {}
    keys: set[str] = set()
    for vector in sorted(vectors, key=lambda v: (order[v.role], v.queue, v.irq)):
        if vector.irq not in by_irq and vector.key not in keys:
            by_irq[vector.irq] = vector
            keys.add(vector.key)
    return tuple(sorted(by_irq.values()))


@dataclass(frozen=True, slots=True)
class _Named:
    """What a name tells. ``owner`` is the interface, or the driver's word for the whole device."""

    owner: str
    role: str
    number: int
    irq: int


def _parse(
    names: Mapping[int, str], patterns: tuple[tuple[re.Pattern[str], str], ...]
) -> list[_Named]:
    found = []
    for irq, name in names.items():
        for pattern, role in patterns:
            if match := pattern.fullmatch(name):
                found.append(_Named(match[1], role, int(match[2] or 0), irq))
                break
    return found


def _of_card(found: Iterable[_Named], ifname: str, ports: Sequence[str]) -> list[_Named]:
    """Those with the card's name; else, of those with no present card's name, its share."""
    owners: dict[str, list[_Named]] = {}
    for named in found:
        if _is(named.owner, ifname) or not _CONTROL.search(named.owner):
            owners.setdefault(named.owner, []).append(named)
    for owner, own in owners.items():
        if _is(owner, ifname):
            return own
    unnamed = [own for owner, own in owners.items() if not any(_is(owner, port) for port in ports)]
    unnamed.sort(key=lambda own: own[0].irq)
    before = ports[: ports.index(ifname)] if ifname in ports else ()
    place = sum(not any(_is(owner, port) for owner in owners) for port in before)
    return unnamed[place] if place < len(unnamed) else []


def _is(owner: str, ifname: str) -> bool:
    return owner == ifname or owner.endswith(f"-{ifname}")


def _numbered(found: Iterable[_Named], driver: str) -> Iterator[Vector]:
    """Numbers of queues, from what the driver numbers."""
    found = list(found)
    if driver in _BY_ORDER:
        for queue, named in enumerate(sorted(found, key=lambda named: named.number)):
            yield Vector(named.role, queue, named.irq)
        return
    lowest = min(named.number for named in found)
    for named in found:
        first = 1 if named.owner in _FROM_ONE or (named.owner == _MLX5 and lowest == 1) else 0
        if driver in _FROM_LOWEST:
            first = min(n.number for n in found if n.role in (named.role, COMBINED))
            if named.role == COMBINED:
                first = min(n.number for n in found if n.role == COMBINED)
        if named.number >= first:
            yield Vector(named.role, named.number - first, named.irq)


def _made_whole(names: Mapping[int, str], ifname: str, driver: str) -> Mapping[int, str]:
    """Names as they would be, had they not been cut off: the driver numbers interrupts in order."""
    own = [irq for irq in sorted(names) if names[irq].startswith(f"{ifname}-")]
    shown = [names[irq] for irq in own]
    if max(map(len, shown), default=0) != _CUT_OFF.get(driver) or (
        len(set(shown)) == len(shown) and all(name[-1].isdigit() for name in shown)
    ):
        return names
    roles = {"T": "TxRx", "r": "rx", "t": "tx"}
    begins = len(ifname) + 1
    whole = {
        irq: f"{ifname}-{roles[names[irq][begins]]}-{number}"
        for number, irq in enumerate(own)
        if names[irq][begins : begins + 1] in roles
    }
    return {**names, **whole}


def _gve_blocks(names: Mapping[int, str]) -> dict[int, int]:
    """Interrupt -> notify block. gve names them before the interface has a name: ``eth%d``."""
    matches = {irq: _GVE_BLOCK.fullmatch(name) for irq, name in names.items()}
    return {irq: int(match[1] or match[2]) for irq, match in matches.items() if match}


def _gve_vectors(blocks: Mapping[int, int]) -> tuple[Vector, ...]:
    """gve numbers its notify blocks: the lower half transmit, the upper half receive."""
    half = max(len(blocks) // 2, 1)
    return once(
        Vector(TX if block < half else RX, block % half, irq) for irq, block in blocks.items()
    )
