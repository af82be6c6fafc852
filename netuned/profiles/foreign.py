"""Keys that stand in a wrong place, and words of other tools: where what is meant is set."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache

from netuned.profiles.classes import Spec
from netuned.profiles.features import GROUPS
from netuned.profiles.features import NAMES as FEATURES
from netuned.profiles.match import Match
from netuned.profiles.profile import Profile
from netuned.profiles.qdiscs import QDISCS
from netuned.profiles.scalars import listed
from netuned.profiles.schema import SECTIONS
from netuned.profiles.sysctls import KNOWN

SETTINGS_KEY = "confirm_timeout"
"""The daemon's own setting, which no profile has."""

_UNDER = {
    "match: {name: …}": "card cards device devices dev ifname interface interfaces nic nics port",
    "match: {mac: …}": "address hwaddr hwaddress mac-address macaddress permaddr",
    "match: {pci: …}": "device-id pci-id vendor",
    "match: {numa_node: …}": "node numa numa-node",
    "channels: {combined: …}": "channel combined-channels num-queues rx-queues tx-queues",
    "rings": "ring ring-buffer ring-buffers ring-size rx-ring tx-ring rx-buffer-size",
    "offloads": "features offload generic-receive-offload tcp-segmentation-offload "
    f"large-receive-offload {' '.join(FEATURES)} {' '.join(GROUPS)}",
    "coalesce": "adaptive coalescing interrupt-coalescing moderation usecs",
    "rss: {queues: …}": "hash indir indirection rx-hash rxfh",
    "rss: {function: …}": "hash-function hfunc",
    "rss: {key: …}": "hash-key hkey rss-key",
    "rss: {fields: …}": "flow-hash rx-flow-hash",
    "rss: {contexts: …}": "context rss-context rss-contexts",
    "napi": "napi-defer-hard-irqs",
    "flows": "flow-rules ntuple-rules rules rx-rules",
    "irq: {cpus: …}": "affinity interrupts irq-affinity irqs smp-affinity smp-affinity-list",
    "link": "big-tcp gro-size gso-size gso-max-segments tx-queue-len txqlen",
    "rps: {cpus: …}": "rps-cpus",
    "rfs: {entries: …}": "rps-flow-cnt rps-sock-flow-entries",
    "xps: {cpus: …}": "xps-cpus",
    "xps: {by: rxqs}": "rxqs xps-rxqs",
    "bql": "byte-queue-limits limit-max limit-min",
    "qdisc: {kind: …}": "default-qdisc net.core.default-qdisc qdiscs queueing-discipline tc",
    "host: {sysctl: …}": "sysctls vm net " + " ".join(KNOWN).replace("_", "-"),
}
_NOT_OURS = {
    "; ethtool and systemd.link(5) do": ("autoneg duplex pause rx tx wol"),
    "; ip link, systemd.link(5) and netplan do": "mtu vlan vlans vf vfs",
    "; the network's own configuration does": "addresses dhcp dhcp4 dhcp6 dns gateway ip routes",
    " yet": "governor",
}


def belongs(key: str, known: Collection[str]) -> str:
    """Where a key belongs that is none of those ``known`` in its place; empty if nobody knows."""
    if SETTINGS_KEY in known and key in Profile.by_key():
        return "this belongs in a profile, a file in /etc/netuned/profiles.d"
    if key == SETTINGS_KEY:
        return "this is a setting of the daemon, in /etc/netuned/netuned.yaml"
    if "kind" in known and "match" not in known:
        kinds = [kind for kind, model in QDISCS.items() if key in model.by_key()]
        if kinds:
            return f"this is a parameter of {listed(kinds, 'and')}"
    word = key.lower().replace("_", "-")
    if word in [one.replace("_", "-") for one in known]:
        return ""  # it only has another dash
    if places := tuple(dict.fromkeys(_places().get(word, ()))):
        return f"this belongs under {listed(places)}"
    return "this is a key of the profile itself" if word in Profile.by_key() else _others(word)


@cache
def _places() -> dict[str, list[str]]:
    """The keys of a profile's mappings, with dashes, and the keys these mappings have."""
    found: dict[str, list[str]] = {}
    for key, section in _all_keys():
        found.setdefault(key.replace("_", "-"), []).append(section)
    return found


def _all_keys() -> Iterator[tuple[str, str]]:
    models: dict[str, type[Spec]] = {"match": Match, **SECTIONS}
    for section, model in models.items():
        for key in model.by_key():
            yield key, section
    for qdisc in QDISCS.values():
        for key in qdisc.by_key():
            yield key, "qdisc"


def _others(word: str) -> str:
    for place, words in _UNDER.items():
        if word in words.split():
            return f"this is set under {place}"
    for who, words in _NOT_OURS.items():
        if word in words.split():
            return f"netuned does not set this{who}"
    return ""
