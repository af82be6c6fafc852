"""Pure: which virtual cards somebody may ask for, by what is known of them before they are read."""

from __future__ import annotations

from collections.abc import Iterable

from netuned.hardware.links import DRIVERS
from netuned.hardware.nic import Nic
from netuned.profiles.loader import LoadedProfile


def may_apply(profiles: Iterable[LoadedProfile], nic: Nic) -> bool:
    """Whether a profile may match an unread card, of which driver and speed are not known."""
    unknown = {"speed"} if nic.kind in DRIVERS else {"speed", "driver"}
    return any(
        unknown.issuperset(entry.failing(nic))
        for loaded in profiles
        for entry in loaded.profile.match
    )
