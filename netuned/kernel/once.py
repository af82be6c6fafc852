"""Once: the answers of one pass over cards, each asked as seldom as the kernel allows."""

from __future__ import annotations

import contextlib
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
    card (``many`` false) only what the kernel tells of all at once is asked so. In one thread.
    """

    def __init__(self, kernel: Kernel, *, many: bool = True) -> None:
        self._kernel = kernel
        self._many = many
        self._told: dict[str, Mapping[int, Any] | None] = {}

    def get(self, question: Question[A], ifindex: int) -> A:
        """One card's answer. Raises: UnsupportedError, KernelError, as ``Kernel.get``."""
        if not self._many and question.ask is not None:
            return self._kernel.get(question, ifindex)
        if question.name not in self._told:
            self._told[question.name] = None
            with contextlib.suppress(KernelError, UnsupportedError):
                self._told[question.name] = self._kernel.dump(question)
        told = self._told[question.name]
        if told is None:
            return self._kernel.get(question, ifindex)
        return told[ifindex] if ifindex in told else question.absent(ifindex)
