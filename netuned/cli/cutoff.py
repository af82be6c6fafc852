"""Warnings that a change drops the link over which the host is reached."""

from __future__ import annotations

from collections.abc import Iterable

from netuned.bus import wire
from netuned.kernel.files import Files
from netuned.kernel.routes import reached_over
from netuned.plan import Change


def warnings(
    changes: Iterable[Change], *, tried: bool = False, how: str = "", any_change: bool = False
) -> list[str]:
    """A sentence for each card of this host that carries its default route or who asks.

    Of those that lose their link, and with ``any_change`` of all that something is changed of.
    ``tried``: the changes are undone by themselves unless they are confirmed. ``how`` to have it
    so, in other words than those of a profile that is dropped.
    """
    drops: dict[str, bool] = {}
    for change in changes:
        if change.disruptive or (any_change and change.ifname):
            drops[change.ifname] = drops.get(change.ifname, False) or change.disruptive
    if not drops:
        return []
    reached = {wire.text(name): what for name, what in reached_over(Files()).items()}
    return [
        f"{name} carries {reached[name]}, and "
        f"{'loses its link for a while' if drops[name] else 'keeps its link'}: "
        + _advice(name, tried, how)
        for name in drops
        if name in reached
    ]


def _advice(name: str, tried: bool, how: str) -> str:  # of one caller
    if tried:
        return "unless it is confirmed in time, it goes back."
    return how or (
        f"`netunedctl pause {name}` before the profile is dropped and then `netunedctl apply "
        f"--confirm 60s {name}` undo it by themselves if it cuts you off."
    )
