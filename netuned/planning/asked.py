"""Pure: which virtual cards somebody may ask for, by what is known of them before they are read."""

from __future__ import annotations

from collections.abc import Collection

from netuned.hardware.links import DRIVERS
from netuned.hardware.nic import Nic
from netuned.planning.following import KINDS
from netuned.profiles.loader import LoadedProfile


def may_apply(profiles: Collection[LoadedProfile], nic: Nic) -> bool:
    """Whether a profile may match an unread card, of which driver and speed are not known; or one
    below it, and has something for this one, too."""
    unknown = {"speed"} if nic.kind in DRIVERS else {"speed", "driver"}
    if nic.kind in KINDS and nic.lowers and any(loaded.profile.leads for loaded in profiles):
        return True
    return any(
        unknown.issuperset(entry.failing(nic))
        for loaded in profiles
        for entry in loaded.profile.match
    )
