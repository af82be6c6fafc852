"""What a card, or the kernel for it, does with packets by itself: the features of ethtool -K.

Of each the kernel tells whether it is on, whether that was asked for, and whether it can be set at
all. One that is asked for and not on waits for another: what sends segments needs the checksum and
scatter-gather, and comes back with them. A request of what cannot be set is answered with yes.

Source: ethtool(8) -K; Documentation/networking/netdev-features.rst; net/ethtool/features.c;
net/core/dev.c, netdev_fix_features().
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX
from netuned.kernel.features import ACTIVE, CHANGEABLE, WANTED
from netuned.kernel.netdev import Bound
from netuned.kernel.questions import FEATURES as QUESTION
from netuned.profiles.features import CHECKSUMMED, CHECKSUMS, GROUPS, NEEDS
from netuned.regex import regex
from netuned.tunables import rings, rules
from netuned.tunables.base import (
    BOOT,
    CARD,
    NOT_ASKED,
    NOTHING,
    Boot,
    Limits,
    Queue,
    Seen,
    Target,
    Tunable,
    View,
    Wanted,
    Words,
    Writers,
    keyed_summary,
)
from netuned.tunables.numbers import why_said
from netuned.values import State, Value, Word

NAME = "offloads"
REOPENS = frozenset(("rx-gro-hw", "rx-lro", "rx-all", "rx-fcs", "loopback", "rx-vlan-hw-parse"))
"""For these many drivers open their rings anew: mlx5, ixgbe, igb, i40e and others."""

_MOSTLY_OFF = """
rx-lro rx-gro-hw rx-gro-list rx-udp-gro-forwarding rx-all rx-fcs rx-ntuple-filter loopback
tx-nocache-copy hw-tc-offload l2-fwd-offload tx-tcp-mangleid-segmentation hsr-tag-ins-offload
hsr-dup-offload
"""
MOSTLY_OFF = frozenset(_MOSTLY_OFF.split())
"""Features that drivers and the kernel leave off until somebody asks (netdev-features.rst)."""

_STATES = {
    0: "off",
    ACTIVE: "on [off is asked for]",
    WANTED: "off [on is asked for]",
    ACTIVE | WANTED: "on",
}
_KEY = regex(r"[a-z0-9][a-z0-9_-]{1,39}")


def read(view: View) -> State:
    return view.kept.same(NAME, view.ask(QUESTION), state_of)


def state_of(found: Mapping[str, int]) -> State:
    return {name: _word(number) for name, number in found.items()}


def _word(number: int) -> Word:
    if not number & CHANGEABLE:  # whatever is asked for
        return Word("on" if number & ACTIVE else "off")
    return Word(_STATES[number & (ACTIVE | WANTED)])


def _asked_for(value: Value) -> bool:
    assert isinstance(value, Word)
    return value.text.partition("[")[2].startswith("on") or value.text == "on"


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    spec = target.profile.offloads
    assert spec is not None
    wanted: dict[str, Value | UnsupportedError | Boot] = {}
    for key, said in spec.named().items():
        names = GROUPS.get(key, (key,))
        settable = [name for name in names if limits.get(name, 0) & CHANGEABLE]
        for name in settable or names:  # of a group, what the card has of it
            wanted[name] = _wanted(name, said, nic, limits)
    has = [name for name in CHECKSUMS if limits.get(name, 0) & (ACTIVE | CHANGEABLE)]
    if has and all(wanted.get(name) == Word("off") for name in has):
        for name in sorted(CHECKSUMMED & {key for key in wanted if wanted[key] == Word("on")}):
            why = f"it needs one of {', '.join(has)}, which the profile turns off"
            wanted[name] = UnsupportedError(name, why)
    return wanted


def _wanted(name: str, said: str, nic: Nic, limits: Limits) -> Value | UnsupportedError | Boot:
    if name not in limits:
        return UnsupportedError(name, "this kernel does not have it")
    has = limits[name]
    if has & CHANGEABLE:
        return BOOT if said == "default" else Word(said)
    fixed = _word(has)
    if said in ("default", fixed.text):
        return fixed
    return UnsupportedError(name, f"the driver {nic.driver} has it fixed {fixed}")


def precedes(wanted: State, found: State) -> Sequence[str]:
    """What needs a feature that goes on, and goes before one that goes off.

    mlx5 splits headers off only with its own GRO on, and keeps that on while it does; many cards
    take flow rules only while they have ntuple filters on.
    Source: mlx5e_ethtool_set_tcp_data_split(); ice_add_fdir_ethtool().
    """
    needs = {"rx-gro-hw": rings.NAME, "rx-ntuple-filter": rules.NAME}
    return [at for name, at in needs.items() if wanted.get(name) == Word("on") != found.get(name)]


def ground(
    key: str, before: Value | None, after: Value, bound: Bound, found: Mapping[str, State]
) -> Iterator[Queue]:
    """Without ntuple filters drivers (ice, i40e, bnxt) take all flow rules away."""
    if key == "rx-ntuple-filter" and after != Word("on"):
        queues = rules.reached(found)
        yield from ((role, queue) for role, queue in bound if role == RX and queue in queues)


def captured(seen: Seen) -> Iterator[Words | UnsupportedError]:
    """What can be set and is not as cards mostly come: all on but what few want.

    Never that ntuple filters are off: rules are refused beside that, and mlx5 has them even so.
    """
    ntuple = "rx-ntuple-filter"
    if seen.whole and str(seen.state.get(ntuple)) == "off" and seen.limits[ntuple] & CHANGEABLE:
        yield UnsupportedError(ntuple, "beside it, off, a profile may have no flow rules")
    said = {
        name: word
        for name, value in seen.state.items()
        if seen.limits[name] & CHANGEABLE and (word := str(value)) in ("on", "off")
        if seen.whole or word != ("off" if name in MOSTLY_OFF else "on")
        if (name, word) != (ntuple, "off")
    }
    if said:
        yield said


def write(view: View, found: State, values: State) -> None:
    asked = {name: int(_asked_for(value)) for name, value in values.items()}
    view.kernel.set(QUESTION, view.nic.ifindex, asked)


def same(key: str, wanted: State, found: State) -> bool:
    """What waited for another feature before netuned is as it was once the same is asked for.

    So is what waits for one that is wanted off: it comes with that.
    """
    asked, has = wanted[key], found[key]
    assert isinstance(asked, Word)
    if "[" in asked.text or _waits_as_wanted(key, wanted):
        return _asked_for(asked) == _asked_for(has)
    return asked == has


def _waits_as_wanted(key: str, wanted: State) -> bool:
    needs = (*NEEDS.get(key, ()), *(CHECKSUMS if key in CHECKSUMMED else ()))
    return any(wanted.get(need) == Word("off") for need in needs)


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.offloads
    if spec is None:
        return NOT_ASKED
    said = spec.expanded().get(key)
    taken = [name for name, needs in NEEDS.items() if key in needs]
    if said == "off" and taken:
        more = f" and {len(taken) - 1} more" if taken[1:] else ""
        return f"the profile's value; it takes {taken[0]}{more} with it, where they are on"
    return why_said(said)


OFFLOADS = Tunable(
    name=NAME,
    holds=(Word,),
    accepts=lambda key: _KEY.fullmatch(key) is not None,
    read=read,
    write=write,
    desired=desired,
    why=why,
    limits=lambda view: view.ask(QUESTION),
    captured=captured,
    by_key=True,
    group=lambda key: NAME,
    same=same,
    precedes=precedes,
    ground=ground,
    disruptive=lambda key, before, after: key in REOPENS,
    stale=lambda key: CARD if key in REOPENS else NOTHING,
    events=frozenset({"features"}),
    writers=Writers(
        hint="look for `ethtool -K` in scripts and timers",
        link={
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
        },
        tuned=frozenset({"net.features"}),
        network_manager=("ethtool.feature-*",),
    ),
    summary=keyed_summary,
)
