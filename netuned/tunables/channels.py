"""How many channels a card has open.

Source: ethtool(8) -L; Documentation/networking/ethtool-netlink.rst, CHANNELS_SET.
"""

from __future__ import annotations

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.tunables.base import Target, View, always_replaceable, equal
from netuned.values import ChannelCounts, State, Value

NAME = "channels"
same = equal
irreplaceable = always_replaceable


def read(view: View) -> State:
    found = view.kernel.ethtool.channels(view.nic.ifindex)
    counts = ChannelCounts(found.rx, found.tx, found.combined)
    return view.kept.same(NAME, counts, lambda counts: {"": counts})


def desired(target: Target, nic: Nic) -> State | None:
    if target.profile.channels is None:
        return None
    if target.no_channels:
        raise UnsupportedError("channels", target.no_channels)
    if target.channels is None:
        raise UnsupportedError("channels", f"the driver {nic.driver} has a fixed number of queues")
    return {"": target.channels}


def write(view: View, found: State, key: str, value: Value) -> None:
    assert isinstance(value, ChannelCounts)
    before = found.get(key)

    def changed(name: str) -> int | None:
        wanted: int = getattr(value, name)
        return wanted if getattr(before, name, None) != wanted else None

    view.kernel.ethtool_netlink.set_channels(
        view.nic.ifindex, rx=changed("rx"), tx=changed("tx"), combined=changed("combined")
    )


def within(wanted: Value, found: Value) -> bool:
    """Drivers that open a power of two, or as many as they get interrupts for, round down."""
    assert isinstance(wanted, ChannelCounts)
    assert isinstance(found, ChannelCounts)
    pairs = ((found.rx, wanted.rx), (found.tx, wanted.tx), (found.combined, wanted.combined))
    return all(has <= asked < 2 * has or has == asked == 0 for has, asked in pairs)


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.channels
    if spec is None:
        return "as it was before netuned"
    counts = (spec.combined, spec.rx, spec.tx)
    if "auto" in counts:
        most = nic.channels.combined_max or nic.channels.rx_max if nic.channels else 0
        return f"auto: one per CPU of {target.pool}, the card has at most {most}"
    return "max: all that the card has" if "max" in counts else "the profile's number"


def disruptive(key: str) -> bool:
    return True


def restructures(key: str) -> bool:
    return True
