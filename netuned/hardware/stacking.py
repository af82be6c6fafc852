"""Pure: which cards lie below others, and which of them belong together.

A bond, VLAN or bridge has no interrupts; those of the physical cards below serve its packets. An
accelerated pair is one card to its user and two to the kernel: hv_netvsc over a VF (both have
queues of their own), or virtio-net failover over a virtio card and a VF.

Source: net/core/dev.c, __netdev_upper_dev_link(); drivers/net/hyperv/netvsc_drv.c,
netvsc_register_vf(); drivers/net/net_failover.c.
"""

from __future__ import annotations

from collections.abc import Mapping

from netuned.hardware.nic import PHYSICAL, Nic

NETVSC = "hv_netvsc"
GROUPING = frozenset(("bond", "team"))


def physical_below(nics: Mapping[int, Nic], ifindex: int) -> tuple[int, ...]:
    """The physical cards at the bottom of a card, ascending; a physical card is its own bottom.

    Empty where there is none (a bridge of veths). A card outside of ``nics`` has nothing below.
    """
    seen: set[int] = set()
    found: set[int] = set()
    ahead = [ifindex]
    while ahead:
        at = ahead.pop()
        nic = nics.get(at)
        if nic is None or at in seen:
            continue
        seen.add(at)
        # net_failover and ports of a switch name the device below as their own
        if nic.kind == PHYSICAL and (nic.driver == NETVSC or not nic.lowers):
            found.add(at)
        ahead.extend(nic.lowers)
    return tuple(sorted(found))


def pair_of(nics: Mapping[int, Nic], ifindex: int) -> tuple[int, ...]:
    """All physical cards of the accelerated pair that a card is in, ascending; else empty."""
    nic = nics[ifindex]
    top = nics.get(nic.master, nic)
    if top.kind != PHYSICAL or not top.lowers:
        return ()
    cards = physical_below(nics, top.ifindex)
    return cards if len(cards) > 1 and ifindex in (*cards, top.ifindex) else ()


def groups(nics: Mapping[int, Nic]) -> Mapping[int, str]:
    """Physical card -> the bond, team or accelerated pair whose queues *n* belong together.

    The key is that card's name; cards without a group are absent. A card below several (pairs
    in a bond) is of the one with most cards. The ports of a bridge serve different hosts: no group.
    """
    found: dict[int, tuple[int, str]] = {}
    for nic in nics.values():
        if nic.kind not in GROUPING and not (nic.kind == PHYSICAL and nic.lowers):
            continue
        cards = physical_below(nics, nic.ifindex)
        rank = (-len(cards), nic.name)
        for card in cards if len(cards) > 1 else ():
            found[card] = min(found.get(card, rank), rank)
    return {card: name for card, (_, name) in sorted(found.items())}
