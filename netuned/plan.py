"""Change and Plan: what would be written, from what, to what, why, whether it drops the link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from netuned.values import Value, describe

WHY_WITHHELD = "policy.disruptive is deny, and it drops the link"
"""Why a change is withheld: nothing else withholds one."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write. ``key`` names the queue (``rx-3``, ``root``) or is empty for the whole card.

    ``ifname`` is empty for a setting of the host. ``before`` is None where there is none yet (a
    queue that a channel change will bring), ABSENT where there is none and may be one.
    """

    ifname: str
    tunable: str
    key: str
    before: Value | None
    after: Value
    why: str
    disruptive: bool = False

    def __str__(self) -> str:
        setting = f"{self.tunable} {self.key}".rstrip()
        before = "(to come)" if self.before is None else describe(self.before)
        return f"{self.ifname or 'host'} {setting}: {before} -> {describe(self.after)}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a card cannot be planned or brought into force: its name and a sentence."""

    ifname: str
    message: str


class Lack(NamedTuple):
    """A setting that a card, or the host (an empty name), cannot have or not in full, and why."""

    ifname: str
    tunable: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All pending changes in the order they would be made, and what stands in the way.

    ``withheld`` are changes that the policy of their profile forbids, ``unsupported`` what no write
    would bring about; over D-Bus status has these.
    """

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...] = ()
    withheld: tuple[Change, ...] = ()
    unsupported: tuple[Lack, ...] = ()
