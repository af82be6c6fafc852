"""How much is merged into one packet on its way through the host (BIG TCP), and how many wait.

Each device has sizes of its own, those above a card too; connections keep theirs until they are
routed anew.

Source: ip-link(8); Documentation/networking/netdevices.rst; net/core/dev.c, netif_set_gso_max_size.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeGuard

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.linknumbers import LEGACY_SIZE
from netuned.kernel.questions import LINK_NUMBERS
from netuned.tunables import numbers
from netuned.tunables.base import Limits, Seen, Target, View, Wanted, Words, Writers
from netuned.tunables.numbers import Field
from netuned.values import Number, State

NAME = "link"
TWINS = {"gso-max-size": "gso-ipv4-max-size", "gro-max-size": "gro-ipv4-max-size"}
"""Size -> what the kernel sets with it, up to ``LEGACY_SIZE`` (netif_set_gso_max_size())."""
FIELDS = {
    **dict.fromkeys((*TWINS, *TWINS.values()), Field("bytes")),
    "gso-max-segs": Field("segments"),
    "txqueuelen": Field("packets"),
}
USUAL = {
    **dict.fromkeys((*TWINS, *TWINS.values()), LEGACY_SIZE),
    "gso-max-segs": 65535,
    "txqueuelen": 1000,
}
"""What the kernel gives a device (alloc_netdev_mqs(), ether_setup())."""
_SHARED = numbers.tunable(NAME, LINK_NUMBERS, FIELDS, lambda profile: profile.link, USUAL)


def _takes_twin(value: object) -> TypeGuard[Number]:
    return isinstance(value, Number) and value.value <= LEGACY_SIZE


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    """What the profile names, and what the kernel sets with that."""
    wanted = dict(_SHARED.desired(target, nic, limits))
    for name, value in wanted.items():
        if isinstance(value, UnsupportedError) and name not in limits:
            wanted[name] = UnsupportedError(name, "this kernel does not have it")
    for size, twin in TWINS.items():
        said = wanted.get(size)
        if _takes_twin(said) and twin in limits:
            wanted.setdefault(twin, said)
    return wanted


def write(view: View, found: State, values: State) -> None:
    """In one message, in which what the kernel would set besides stays as it is."""
    kept = {
        twin: found[twin]
        for size, twin in TWINS.items()
        if twin in found and _takes_twin(values.get(size))
    }
    _SHARED.write(view, found, {**kept, **values})


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.link
    if spec is not None and key not in spec.named():
        size = next(size for size, twin in TWINS.items() if twin == key)
        return f"the kernel sets it with {size}, up to 64K"
    return f"as {target.follows} below it" if target.follows else _SHARED.why(target, nic, key)


def captured(seen: Seen) -> Iterator[Words]:
    """With a size its twin, which the kernel would else set to the same."""
    for said in _SHARED.captured(seen):
        assert isinstance(said, dict)
        twins = {TWINS[size] for size in said.keys() & TWINS.keys()}
        found = {twin: seen.state[twin] for twin in sorted(twins & seen.state.keys())}
        yield said | {twin: size.value for twin, size in found.items() if isinstance(size, Number)}


LINK = replace(
    _SHARED,
    captured=captured,
    desired=desired,
    write=write,
    why=why,
    silent=lambda kernel: True,
    declines=lambda error: error.errno == errno.EINVAL,  # the card sends less by now
    writers=Writers(
        hint="look for `ip link set` in scripts and timers",
        link={
            "GenericSegmentOffloadMaxBytes": "gso-max-size",
            "GenericSegmentOffloadMaxSegments": "gso-max-segs",
            "TransmitQueueLength": "txqueuelen",
        },
        tuned=frozenset({"net.txqueuelen"}),
        network_manager=(
            *("link.tx-queue-length", "link.gro-max-size"),
            *("link.gso-max-size", "link.gso-max-segments"),
        ),
    ),
)
