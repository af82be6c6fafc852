"""Warnings that a change drops the link over which the host is reached."""

from __future__ import annotations

from collections.abc import Iterable

from netuned.bus import wire
from netuned.kernel.files import Files
from netuned.kernel.routes import reached_over
from netuned.plan import Change


def warnings(changes: Iterable[Change], *, tried: bool = False, how: str = "") -> list[str]:
    """A sentence for each card of this host that carries its default route or who asks.

    ``tried``: the changes are undone by themselves unless they are confirmed. ``how`` to have it
    so, in other words than those of a profile that is dropped.
    """
    cards = dict.fromkeys(change.ifname for change in changes if change.disruptive)
    if not cards:
        return []
    reached = {wire.text(name): what for name, what in reached_over(Files()).items()}
    return [
        f"{name} carries {reached[name]}, and loses its link for a while: "
        + _advice(name, tried, how)
        for name in cards
        if name in reached
    ]


def _advice(name: str, tried: bool, how: str) -> str:  # of one caller
    if tried:
        return "unless it is confirmed in time, it goes back."
    return how or (
        f"`netunedctl pause {name}` before the profile is dropped and then `netunedctl apply "
        f"--confirm 60s {name}` undo it by themselves if it cuts you off."
    )
