"""systemd's ``.link`` files. Source: systemd.link(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from netuned.importing.found import Found, Path, word

_MATCH = {"OriginalName": "name", "Driver": "driver", "MACAddress": "mac"}
_MATCH["PermanentMACAddress"] = "mac"

_FEATURES = {
    "GenericSegmentationOffload": "gso",
    "TCPSegmentationOffload": "tx-tcp-segmentation",
    "TCP6SegmentationOffload": "tx-tcp6-segmentation",
    "UDPSegmentationOffload": "tx-udp-segmentation",
    "GenericReceiveOffload": "gro",
    "GenericReceiveOffloadHardware": "rx-gro-hw",
    "LargeReceiveOffload": "lro",
    "ReceiveChecksumOffload": "rx",
    "TransmitChecksumOffload": "tx",
    "ReceivePacketSteeringOffload": "rxhash",
    "NTupleFilter": "ntuple",
    "ReceiveVLANCTAGHardwareAcceleration": "rxvlan",
    "TransmitVLANCTAGHardwareAcceleration": "txvlan",
    "ReceiveVLANCTAGFilter": "rx-vlan-filter",
    "TransmitVLANSTAGHardwareAcceleration": "tx-vlan-stag-hw-insert",
}
_COALESCE = {
    f"{way}{name}": f"{way.lower()}-{own}"
    for way in ("Rx", "Tx")
    for name, own in (
        *(("CoalesceSec", "usecs"), ("CoalesceIrqSec", "usecs-irq")),
        *(("CoalesceLowSec", "usecs-low"), ("CoalesceHighSec", "usecs-high")),
        *(("MaxCoalescedFrames", "frames"), ("MaxCoalescedIrqFrames", "frames-irq")),
        *(("MaxCoalescedLowFrames", "frames-low"), ("MaxCoalescedHighFrames", "frames-high")),
    )
}
_COALESCE |= {"UseAdaptiveRxCoalesce": "adaptive-rx", "UseAdaptiveTxCoalesce": "adaptive-tx"}
_COALESCE |= {"CoalescePacketRateLow": "pkt-rate-low", "CoalescePacketRateHigh": "pkt-rate-high"}
_COALESCE["StatisticsBlockCoalesceSec"] = "stats-block-usecs"

KEYS: Mapping[str, Path] = {
    **{key: ("offloads", name) for key, name in _FEATURES.items()},
    **{key: ("coalesce", name) for key, name in _COALESCE.items()},
    "RxChannels": ("channels", "rx"),
    "TxChannels": ("channels", "tx"),
    "CombinedChannels": ("channels", "combined"),
    "RxBufferSize": ("rings", "rx"),
    "RxMiniBufferSize": ("rings", "rx-mini"),
    "RxJumboBufferSize": ("rings", "rx-jumbo"),
    "TxBufferSize": ("rings", "tx"),
    "TransmitQueueLength": ("link", "txqueuelen"),
    "GenericSegmentOffloadMaxBytes": ("link", "gso-max-size"),
    "GenericSegmentOffloadMaxSegments": ("link", "gso-max-segs"),
    "ReceivePacketSteeringCPUMask": ("rps", "cpus"),
}
"""What a key of ``[Link]`` is in a profile."""

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_SECONDS = {"us": 1, "usec": 1, "µs": 1, "ms": 1000, "msec": 1000, "s": 10**6, "sec": 10**6}
_SECONDS[""] = 10**6


def read(text: str) -> Iterator[Found]:
    """Of several that a key of ``[Match]`` names, each is selected by all other keys."""
    section, why, selected = "", "", dict[str, str]()
    settings: list[tuple[int, str, str, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip()
        if said.startswith("[") and said.endswith("]"):
            section = said[1:-1]
        elif said and said[0] not in "#;" and "=" in said:
            key, _, value = said.partition("=")
            key, value = key.strip(), value.strip()
            if section == "Match" and key in _MATCH:
                own = _MATCH[key]
                selected[own] = f"{selected[own]} {value}" if own in selected else value
            elif section == "Match" and (key, value) != ("Type", "ether"):
                why = f"the file is for cards with {said}, and a profile cannot say that"
                yield Found(number, said, why=why)
            elif section == "Link":
                settings.append((number, said, key, value))
    if not selected and not why:
        why = "without a [Match] section systemd ignores the file"
    card = "\n".join(f"{key}={value}" for key, value in selected.items())
    for number, said, key, value in settings:
        found = _setting(number, said, key, value, card)
        yield replace(found, why=why) if why and not found.why else found


def _setting(number: int, said: str, key: str, value: str, card: str) -> Found:
    path = KEYS.get(key)
    if path is None:
        return Found(number, said, why="netuned does not set this; the .link file does")
    if not value or (path[-1] == "cpus" and value == "disable"):
        return Found(number, said, path, "none" if value else None, card=card)
    if key.endswith("Sec"):
        amount = value.rstrip("abcdefghijklmnopqrstuvwxyzµ ")
        scale = _SECONDS.get(value[len(amount) :].strip())
        if scale is None or not _COUNT.fullmatch(amount):
            return Found(number, said, why="it is no time like 50us")
        return Found(number, said, path, int(amount) * scale, card=card)
    switches = {"yes": "on", "true": "on", "1": "on", "no": "off", "false": "off", "0": "off"}
    if path[0] == "offloads" or path[-1].startswith("adaptive"):
        return Found(number, said, path, switches.get(value.lower(), value), card=card)
    if path[-1] == "cpus":
        value = ",".join(value.split()) if value != "all" else "online"
    if value[-1:] in ("K", "M", "G") and _COUNT.fullmatch(value[:-1]):
        value = str(int(value[:-1]) << {"K": 10, "M": 20, "G": 30}[value[-1]])
    return Found(number, said, path, word(value), card=card)
