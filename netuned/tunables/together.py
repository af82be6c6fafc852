"""What profiles in force want of the host together, key by key: shared by its tunables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from netuned.profiles.profile import Profile
from netuned.tunables.base import BOOT, Boot, HostTarget
from netuned.values import Value

DEFAULT = "default"

Said = Value | Boot
Joined = Callable[[str, Value, Value], Value | None]


def _no_other(key: str, one: Value, other: Value, /) -> Value | None:
    return None


def gather(
    name: str,
    profiles: Sequence[Profile],
    named: Callable[[Profile], Iterable[tuple[str, Value | None]]],
    joined: Joined = _no_other,
    order: Callable[[str], object] = str,
    rival: Callable[[str], str] = lambda key: "",
) -> HostTarget | None:
    """The first profile's value of each key; None where none names any.

    ``named`` is what a profile says of them, None for ``default``. ``joined`` is one value with
    which two are as wanted, or None: that is a conflict. So is a key whose ``rival`` is wanted
    before it: they cannot both be had. Keys are set in ``order``.
    """
    wanted: dict[str, Said] = {}
    by: dict[str, str] = {}
    conflicts: list[str] = []
    for profile in profiles:
        for key, said in named(profile):
            value: Said = BOOT if said is None else said
            if (other := rival(key)) in wanted:
                conflicts.append(
                    f"host {name} {key}: profile {profile.name} wants {_shown(value)}, and profile "
                    f"{by[other]} {other} {_shown(wanted[other])}, which exclude each other; "
                    f"{by[other]} goes first, by priority, then by name"
                )
                continue
            before = wanted.setdefault(key, value)
            first = by.setdefault(key, profile.name)
            if before == value:
                continue
            both = None
            if not isinstance(before, Boot) and not isinstance(value, Boot):
                both = joined(key, before, value)
            if both is None:
                conflicts.append(
                    f"host {name} {key}: profiles {first} and {profile.name} want "
                    f"{_shown(before)} and {_shown(value)}; {first} goes first, by priority, then "
                    "by name"
                )
            elif both != before:
                wanted[key], by[key] = both, profile.name
    if not wanted:
        return None
    ordered = {key: wanted[key] for key in sorted(wanted, key=order)}  # type: ignore[arg-type]
    reasons = {key: f"host.{name} of profile {profile}" for key, profile in by.items()}
    return HostTarget({name: ordered}, {name: reasons}, tuple(conflicts))


def _shown(value: Said) -> str:
    return DEFAULT if isinstance(value, Boot) else str(value)
