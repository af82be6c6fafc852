"""Once: the answers of one pass over cards, each asked as seldom as the kernel allows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any, TypeVar

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import Kernel
from netuned.kernel.questions import Question

A = TypeVar("A")


class Once:
    """Asks all cards at the first question, and keeps the answer for as long as this object.

    A card is asked by itself where the kernel has no request for all, or where that failed: one
    card's error (ENODEV while its driver resets it) is then its own and no other's. For a single
    card (``many`` false) only what the kernel tells of all at once is asked so. Where it is
    ``brief``, as every few seconds, what takes many questions may be asked for in part, if that
    shows whether what is netuned's is as it was read last. Safe to use from workers.
    """

    def __init__(self, kernel: Kernel, *, many: bool = True, brief: bool = False) -> None:
        self.brief = brief
        self._kernel = kernel
        self._many = many
        self._told: dict[str, Mapping[int, Any] | None] = {}
        self._lock = threading.Lock()

    @property
    def begun(self) -> bool:
        """Whether something was asked: until then, all answers are of a time to come."""
        return bool(self._told)

    def get(self, question: Question[A], ifindex: int) -> A:
        """One card's answer. Raises: UnsupportedError, KernelError, as ``Kernel.get``."""
        if not self._many and question.ask is not None:
            return self._kernel.get(question, ifindex)
        with self._lock:
            if question.name not in self._told:
                self._told[question.name] = None
                with contextlib.suppress(KernelError, UnsupportedError):
                    self._told[question.name] = self._kernel.dump(question)
            told = self._told[question.name]
        if told is None:
            return self._kernel.get(question, ifindex)
        return told[ifindex] if ifindex in told else question.absent(ifindex)


class Shared:
    """Answers for many cards that are looked at side by side, of which each wants fresh ones.

    The rule: what a card reads was asked after its own last write, and after the event it is looked
    at for. Answers that were not asked for anything yet will be, whoever asks first; so those are
    what everybody gets who comes until then. With work done in the order it comes, cards that wait
    for their next turn all have one dump, however many they are.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._next = Once(kernel)

    def fresh(self) -> Once:
        """Answers all of which are asked after this call."""
        if self._next.begun:
            self._next = Once(self._kernel)
        return self._next
