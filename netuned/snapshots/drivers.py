"""What drivers show of their cards, for described machines; and the kinds of cards over others.

Source: the drivers' request_irq calls and ethtool operations; tests/unit/test_vectors.py names the
files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from netuned.kernel.features import ACTIVE, CHANGEABLE, WANTED
from netuned.kernel.hashing import Hashing, key_of
from netuned.kernel.linknumbers import MAX_SIZE
from netuned.records import dataclass

ADAPTIVE: Mapping[str, int] = MappingProxyType(
    {"adaptive-rx": 1, "adaptive-tx": 1, "rx-usecs": 50, "tx-usecs": 50}
)
NO_COALESCE: Mapping[str, int] = MappingProxyType({})
_ON, _OFF = ACTIVE | WANTED | CHANGEABLE, CHANGEABLE
USUAL: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(
        (
            *("tx-scatter-gather", "tx-checksum-ip-generic", "tx-generic-segmentation"),
            *("tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation"),
            *("rx-checksum", "rx-gro", "rx-hashing", "rx-vlan-hw-parse", "tx-vlan-hw-insert"),
        ),
        _ON,
    )
    | dict.fromkeys(("rx-ntuple-filter", "rx-gro-list", "rx-udp-gro-forwarding"), _OFF)
    | {"highdma": ACTIVE, "rx-gro-hw": 0, "rx-lro": 0}
)
MERGING: Mapping[str, int] = MappingProxyType({**USUAL, "rx-gro-hw": _OFF, "rx-lro": _OFF})
"""Of a card that merges received packets itself."""

TOEPLITZ = Hashing(
    function=1,
    symmetric=0,
    key=key_of(bytes(range(40))),
    fields=MappingProxyType(
        {**dict.fromkeys(("tcp4", "tcp6"), 0xF0), **dict.fromkeys(("udp4", "udp6"), 0x30)}
    ),
)
"""How a card hashes with a driver just loaded: TCP with its ports, UDP without."""


@dataclass(frozen=True, slots=True)
class Driver:
    """How a driver shows a card: its interrupts' names, channels and RSS.

    ``names`` are those of one queue's interrupts with ``{card}``, ``{queue}``, ``{pci}`` and
    ``{serial}`` (of the virtio device); ``control`` of the others, which come first. Without
    ``names`` a card has no interrupts. Without ``pci`` it is on Hyper-V's bus, or on none (veth).
    """

    pci: str
    names: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    maximum: int = 64
    entries: int = 128
    reach: int = 1 << 16
    """How many queues RSS reaches."""
    speed_mbps: int = 0
    combined: bool = True
    other: int = 0
    settable: bool = True
    """Whether channels can be set."""
    shows_channels: bool = True
    on_node: bool = True
    """Whether firmware usually names a node."""
    by_role: bool = False
    """Interrupts of all transmit queues come before those of all receive queues."""
    rings: tuple[int, int, int] = (512, 512, 4096)
    """Entries of a receive and a transmit ring, and the most of either; 0 without."""
    coalesce: Mapping[str, int] = field(default_factory=lambda: ADAPTIVE)
    """Interrupt coalescing by ethtool's names, with a driver just loaded; empty without."""
    features: Mapping[str, int] = field(default_factory=lambda: USUAL)
    """By the kernel's names, as ``questions.FEATURES`` answers."""
    tso_max: int = 65536
    """Bytes that it sends as one packet."""
    rules: int = 0
    """How many flow rules it has room for."""
    contexts: bool = False
    """Whether it has RSS contexts."""
    blocks: bool = False
    """The kernel's RSS table gives neighbouring entries to one queue."""


DRIVERS = {
    "ice": Driver(
        "8086:1592", ("ice-{card}-TxRx-{queue}",), ("ice-{pci}:misc",),
        speed_mbps=100_000, other=1, tso_max=131_072, rules=1024,
    ),
    "i40e": Driver(
        "8086:1583", ("i40e-{card}-TxRx-{queue}",),
        ("i40e-{pci}:misc", "i40e-{pci}:fdir-TxRx-0"), entries=512, speed_mbps=40_000, other=1,
    ),
    # iavf_main.c; iavf_ethtool.c; iavf.h: IAVF_MAX_REQ_QUEUES, IAVF_HLUT_ARRAY_SIZE
    "iavf": Driver(
        "8086:1889", ("iavf-{card}-TxRx-{queue}",), ("iavf-{pci}:mbx",),
        maximum=16, entries=64, other=1,
    ),
    "igb": Driver(
        "8086:1521", ("{card}-TxRx-{queue}",), ("{card}",),
        maximum=8, speed_mbps=1000, other=1, blocks=True, rings=(256, 256, 4096),
        coalesce={"rx-usecs": 3, "tx-usecs": 0},
    ),
    "ixgbe": Driver(
        "8086:10fb", ("{card}-TxRx-{queue}",), ("{card}",),
        maximum=63, reach=16, speed_mbps=10_000, other=1,
    ),
    "e1000e": Driver(
        "8086:15bb", ("{card}",), maximum=1, entries=0, speed_mbps=1000,
        settable=False, shows_channels=False, rings=(256, 256, 4096), coalesce={"rx-usecs": 3},
    ),
    # r8169_main.c, rtl_open: one queue, and no operation that says so
    "r8169": Driver(
        "10ec:8168", ("{card}",), maximum=1, entries=0, speed_mbps=1000,
        settable=False, shows_channels=False,
    ),
    "mlx5_core": Driver(
        "15b3:1017", ("mlx5_comp{queue}@pci:{pci}",), ("mlx5_async0@pci:{pci}",),
        entries=256, speed_mbps=100_000, features=MERGING, tso_max=MAX_SIZE, rules=1024,
        contexts=True,
    ),
    "bnxt_en": Driver(
        "14e4:1750", ("{card}-TxRx-{queue}",), maximum=74, speed_mbps=100_000, features=MERGING,
        tso_max=MAX_SIZE,
    ),
    # bnx2x_cmn.c, bnx2x_req_msix_irqs; T_ETH_INDIRECTION_TABLE_SIZE
    "bnx2x": Driver(
        "14e4:168e", ("{card}-fp-{queue}",), ("{card}",), maximum=16, speed_mbps=10_000,
    ),
    # nfp_net_common.c, nfp_net_prepare_vector; NFP_NET_CFG_RSS_ITBL_SZ, NFP_NET_NON_Q_VECTORS
    "nfp": Driver(
        "19ee:4000", ("{card}-rxtx-{queue}",), ("{card}-exn", "{card}-lsc"),
        speed_mbps=25_000, other=2,
    ),
    "ena": Driver(
        "1d0f:ec20", ("{card}-Tx-Rx-{queue}",), ("ena-mgmnt@pci:{pci}",),
        maximum=32, on_node=False,
    ),
    "gve": Driver(
        "1ae0:0042", ("gve-ntfy-blk{queue}@pci:{pci}", "gve-ntfy-blk{queue}@pci:{pci}"),
        ("gve-mgmnt@pci:{pci}",), maximum=16, entries=0, combined=False, on_node=False,
        by_role=True,
    ),
    # gdma_main.c, mana_gd_setup_irqs; MANA_MAX_NUM_QUEUES, MANA_INDIRECT_TABLE_DEF_SIZE
    "mana": Driver(
        "1414:00ba", ("mana_q{queue}@pci:{pci}",), ("mana_hwc@pci:{pci}",),
        entries=64, on_node=False,
    ),
    # netvsc_drv.c; hyperv_net.h: VRSS_CHANNEL_MAX, ITAB_NUM. VMBus channels have no interrupts
    "hv_netvsc": Driver("", on_node=False),
    "vmxnet3": Driver(
        "15ad:07b0", ("{card}-rxtx-{queue}",), ("{card}-event-{queues}",),
        maximum=8, entries=32, speed_mbps=10_000, settable=False, on_node=False,
        rings=(1024, 512, 4096), coalesce=NO_COALESCE,
    ),
    "virtio_net": Driver(
        "1af4:1041", ("virtio{serial}-input.{queue}", "virtio{serial}-output.{queue}"),
        ("virtio{serial}-config",), maximum=8, entries=0, on_node=False, rings=(256, 256, 256),
        # without VIRTIO_NET_F_NOTF_COAL, whether the transmit queue is polled is all there is
        coalesce={
            "adaptive-rx": 0, "rx-usecs": 0, "tx-usecs": 0, "rx-frames": 1, "tx-frames": 1,
        },
    ),
    "veth": Driver(
        "", maximum=8, entries=0, speed_mbps=10_000, combined=False, on_node=False, rings=(0, 0, 0),
        coalesce=NO_COALESCE, tso_max=MAX_SIZE,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upper:
    """A card over others; ``single``: over one."""

    driver: str
    queues: int
    single: bool = False


UPPER_KINDS = {
    "bond": Upper("bonding", 16),
    "team": Upper("team", 16),
    "bridge": Upper("bridge", 1),
    "vlan": Upper("802.1Q VLAN Support", 1, single=True),
    "macvlan": Upper("macvlan", 1, single=True),
}
