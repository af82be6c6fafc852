"""The features of a card by the kernel's names, and ethtool's short ones for some and for groups.

Source: net/ethtool/common.c, netdev_features_strings; ethtool.c, off_flag_def; net/core/dev.c,
netdev_fix_features().
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from netuned.profiles.classes import First, Last, Mistake, Rooted
from netuned.profiles.scalars import shown, word_or_keep
from netuned.records import dataclass
from netuned.text import did_you_mean

_LIST = """
tx-scatter-gather tx-checksum-ipv4 tx-checksum-ip-generic tx-checksum-ipv6 highdma
tx-scatter-gather-fraglist tx-vlan-hw-insert rx-vlan-hw-parse rx-vlan-filter
tx-vlan-stag-hw-insert rx-vlan-stag-hw-parse rx-vlan-stag-filter tx-generic-segmentation rx-gro
rx-gro-hw rx-lro tx-tcp-segmentation tx-gso-robust tx-tcp-ecn-segmentation
tx-tcp-accecn-segmentation tx-tcp-mangleid-segmentation tx-tcp6-segmentation tx-fcoe-segmentation
tx-gre-segmentation tx-gre-csum-segmentation tx-ipxip4-segmentation tx-ipxip6-segmentation
tx-udp_tnl-segmentation tx-udp_tnl-csum-segmentation tx-gso-partial tx-tunnel-remcsum-segmentation
tx-sctp-segmentation tx-esp-segmentation tx-udp-segmentation tx-gso-list tx-checksum-fcoe-crc
tx-checksum-sctp rx-ntuple-filter rx-hashing rx-checksum tx-nocache-copy loopback rx-fcs rx-all
l2-fwd-offload hw-tc-offload esp-hw-offload esp-tx-csum-hw-offload rx-udp_tunnel-port-offload
tls-hw-tx-offload tls-hw-rx-offload tls-hw-record rx-gro-list macsec-hw-offload
rx-udp-gro-forwarding hsr-tag-ins-offload hsr-tag-rm-offload hsr-fwd-offload hsr-dup-offload
"""
NAMES = frozenset(_LIST.split())
"""All that can be set on some card; netns-local and vlan-challenged can on none."""

SHORT: Mapping[str, tuple[str, ...]] = {
    "rx": ("rx-checksum",),
    "tx": (
        *("tx-checksum-ipv4", "tx-checksum-ip-generic", "tx-checksum-ipv6"),
        *("tx-checksum-fcoe-crc", "tx-checksum-sctp"),
    ),
    "sg": ("tx-scatter-gather", "tx-scatter-gather-fraglist"),
    "tso": (
        *("tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-accecn-segmentation"),
        *("tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation"),
    ),
    "gso": ("tx-generic-segmentation",),
    "gro": ("rx-gro",),
    "lro": ("rx-lro",),
    "rxvlan": ("rx-vlan-hw-parse",),
    "txvlan": ("tx-vlan-hw-insert",),
    "ntuple": ("rx-ntuple-filter",),
    "rxhash": ("rx-hashing",),
}
"""What ethtool -K means by a short name."""

LONG: Mapping[str, str] = {
    "rx-checksumming": "rx",
    "tx-checksumming": "tx",
    "scatter-gather": "sg",
    "tcp-segmentation-offload": "tso",
    "generic-segmentation-offload": "gso",
    "generic-receive-offload": "gro",
    "large-receive-offload": "lro",
    "rx-vlan-offload": "rxvlan",
    "tx-vlan-offload": "txvlan",
    "ntuple-filters": "ntuple",
    "receive-hashing": "rxhash",
}
"""What ethtool -k prints in place of a short name."""

GROUPS: Mapping[str, tuple[str, ...]] = {**SHORT, **{name: SHORT[of] for name, of in LONG.items()}}
"""What ethtool's names mean, by name."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((*SHORT["tso"], *SHORT["gso"]), ("tx-scatter-gather",)),
    "tx-tcp-mangleid-segmentation": ("tx-scatter-gather", "tx-tcp-segmentation"),
    "rx-gro-hw": ("rx-checksum",),
    "tls-hw-rx-offload": ("rx-checksum",),
}
"""Feature -> those without any of which the kernel turns it off, whatever the card is."""

CHECKSUMS = ("tx-checksum-ipv4", "tx-checksum-ip-generic", "tx-checksum-ipv6")
CHECKSUMMED = frozenset((*SHORT["tso"], "tx-udp-segmentation", "tls-hw-tx-offload"))
"""What the kernel turns off without a checksum that sends; which of them is the card's."""

EXCLUDE = (("rx-gro-hw", "rx-lro"), ("rx-fcs", "rx-lro"), ("rx-fcs", "rx-gro-hw"))
"""Of each pair the kernel turns one off where both are wanted."""


def expand(said: Mapping[str, str]) -> dict[str, str]:
    """What is said of each feature by the kernel's names."""
    return {name: value for key, value in said.items() for name in GROUPS.get(key, (key,))}


def _name(key: object) -> str:
    if isinstance(key, str) and (key in NAMES or key in GROUPS):
        return key
    hint = did_you_mean(str(key), (*sorted(NAMES), *GROUPS)) or "`ethtool -k` lists them"
    raise Mistake(f"{shown(key)} is no feature that the kernel has; {hint}")


def _together(said: dict[str, str | None]) -> dict[str, str | None]:
    """What is said, if it goes together. Raises: Mistake."""
    by: dict[str, str] = {}
    for key, value in said.items():
        if value is None:
            continue
        for name in GROUPS.get(key, (key,)):
            if name in by and said[by[name]] != value:
                raise Mistake(f"`{by[name]}` and `{key}` both say something of {name}")
            by[name] = key
    wanted = expand({key: value for key, value in said.items() if value is not None})
    for pair in EXCLUDE:
        if all(wanted.get(name) == "on" for name in pair):
            raise Mistake(f"{by[pair[0]]} and {by[pair[1]]} exclude each other; turn one off")
    for name, value in wanted.items():
        missing = [need for need in NEEDS.get(name, ()) if wanted.get(need) == "off"]
        if value == "on" and missing:
            raise Mistake(f"{by[name]} needs {by[missing[0]]}, which is off")
    return said


_Switch = Annotated[Literal["on", "off", "default"] | None, word_or_keep("on", "off", "default")]
_Said = dict[Annotated[str, First(_name)], _Switch]


@dataclass(frozen=True, slots=True)
class OffloadsSpec(Rooted):
    """What a profile says of features, by the names that it has for them."""

    root: Annotated[_Said, Last(_together)]

    def named(self) -> dict[str, str]:
        """What it says of each, ``on``, ``off`` or ``default``, by the names that it has."""
        return {key: value for key, value in self.root.items() if value is not None}

    def expanded(self) -> dict[str, str]:
        """The same by the kernel's names."""
        return expand(self.named())
