"""What came of values that a card was to have: refused, or made something else of.

The loop's thread reads it while a worker has the card, so mappings are replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from netuned.plan import Change
from netuned.values import Setting, State, Value


class Verdicts:
    """Of one card, by setting. What is here is not written again until it is forgotten."""

    def __init__(self) -> None:
        self.refused: Mapping[Setting, tuple[Value | None, str]] = {}
        """The value that could not be set (None: that the profile asks for), and why."""
        self.accepted: Mapping[Setting, tuple[Value, Value]] = {}
        """A value that was written, and what the kernel makes of it."""
        self._doubted: set[tuple[Setting, tuple[Value | None, Value | str]]] = set()
        """What was taken for the kernel's doing once, when somebody else may have written, too."""

    def refuse(self, at: Setting, value: Value | None, why: str) -> None:
        """A value cannot be set; None: what the profile asks for."""
        self.refused = {**self.refused, at: (value, why)}

    def accept(self, at: Setting, value: Value, found: Value) -> None:
        """The kernel makes this of a value."""
        self.accepted = {**self.accepted, at: (value, found)}

    def refuses(self, at: Setting, value: Value) -> bool:
        """Whether this value of a setting was refused."""
        return self.refused.get(at, (None,))[0] == value

    def made_of(self, at: Setting, value: Value) -> Value:
        """What becomes of a value, as far as is known: the value itself."""
        made = self.accepted.get(at)
        return made[1] if made is not None and made[0] == value else value

    def without_accepted(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        """Those whose present value is not what the kernel makes of the wanted one."""
        return tuple(
            change
            for change in changes
            if self.accepted.get((change.tunable, change.key)) != (change.after, change.before)
        )

    def forget_refusals(self, of: Callable[[Setting], bool] = lambda at: True) -> None:
        """Try again what was refused."""
        self.refused = {at: said for at, said in self.refused.items() if not of(at)}

    def forget_unasked(self) -> None:
        """Profiles are asked anew: forget what they asked for and could not have."""
        self.refused = {at: said for at, said in self.refused.items() if said[0] is not None}

    def forget_others(self, name: str, *states: State) -> None:
        """Of values of a tunable that were refused, forget those that none of the states has."""
        self.refused = {
            at: (value, why)
            for at, (value, why) in self.refused.items()
            if at[0] != name or value is None or value in [state.get(at[1]) for state in states]
        }

    def doubt(self, names: Collection[str]) -> None:
        """Write once more what came out otherwise: somebody else may have set that.

        What comes out alike a second time is the kernel's.
        """
        came_out = {**self.refused, **self.accepted}
        doubted = {(at, said) for at, said in came_out.items() if at[0] in names} - self._doubted
        self._doubted |= doubted
        self.refused = {at: said for at, said in self.refused.items() if (at, said) not in doubted}
        self.accepted = {
            at: said for at, said in self.accepted.items() if (at, said) not in doubted
        }

    def forget_accepted(self, settings: Collection[Setting]) -> None:
        """Write once more, without a doubt, what came out otherwise."""
        self.accepted = {at: pair for at, pair in self.accepted.items() if at not in settings}
        self._doubted = {doubted for doubted in self._doubted if doubted[0] not in settings}
