"""Answers: what was asked of a kernel and answered, in memory and as JSON.

The document has ``cards``, by ifindex and question; what the kernel only tells of all cards by
question and ifindex; what answers share; and as ``dumped`` the questions that were asked of all
cards, so that a card without an answer is known to have none.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, TypeVar

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.forms import Form, Pool, index, items, mapping, whole
from netuned.kernel.questions import QUESTIONS, Question
from netuned.records import dataclass

NOT_HELD = errno.ENODATA
"""What is known to be there but was left out of the snapshot."""

Failure = KernelError | UnsupportedError
A = TypeVar("A")


@dataclass(slots=True)
class Answers:
    """Answers, or the errors that came instead, by question and ifindex."""

    _cards: dict[str, dict[int, Any]] = field(
        init=False, default_factory=lambda: {question.name: {} for question in QUESTIONS}
    )
    _failed: dict[str, Failure] = field(init=False, default_factory=dict)
    _dumped: set[str] = field(init=False, default_factory=set)

    def cards(self, question: Question[A]) -> dict[int, A | Failure]:
        """The answers to a question by ifindex, to be read or changed."""
        return self._cards[question.name]

    def put_all(self, question: Question[A], answers: Mapping[int, A | Failure] | Failure) -> None:
        """What all cards answered at once, in place of what was there; or the error instead.

        Such an error is kept where no single card can be asked, and no card has one of its own;
        where it can, it says nothing.
        """
        if not isinstance(answers, Failure):
            self._dumped.add(question.name)
            self._cards[question.name] = dict(answers)
        elif question.ask is None:
            self._failed[question.name] = answers

    def get(self, question: Question[A], ifindex: int) -> A:
        """One card's answer. Raises: the error that came instead; KernelError, ``NOT_HELD``."""
        cards = self._cards[question.name]
        if ifindex in cards:
            answer: A | Failure = cards[ifindex]
            return or_raise(answer)
        if question.name in self._failed:
            raise replace(self._failed[question.name])
        if question.name in self._dumped:
            return question.absent(ifindex)
        target = f"{question.what} of ifindex {ifindex} in the snapshot"
        raise KernelError("get", target, NOT_HELD)

    def dump(self, question: Question[A]) -> Mapping[int, A]:
        """The answers of all cards that have one.

        Raises: as a kernel does, UnsupportedError where it has no such request, KernelError where
        it is what a card answered; KernelError, ``NOT_HELD``.
        """
        if not question.dumps:
            raise no_dump(question)
        if question.name in self._failed:
            raise replace(self._failed[question.name])
        if question.name not in self._dumped:
            raise KernelError("list", f"{question.what} in the snapshot", NOT_HELD)
        held = self._cards[question.name]
        return held if question.ask is None else _of_all(held)

    def to_json(self) -> dict[str, Any]:
        """A document of plain data."""
        cards: dict[str, dict[str, Any]] = {}
        document: dict[str, Any] = {"cards": cards}
        dumped = document["dumped"] = []
        pools: dict[str, Pool] = {}
        for question in QUESTIONS:
            pool = pools.setdefault(question.form.pool, Pool())
            held = self.cards(question).items()
            told = {str(ifindex): _written(question.form, answer, pool) for ifindex, answer in held}
            if question.ask is not None:
                for ifindex, answer in told.items():
                    cards.setdefault(ifindex, {})[question.name] = answer
                dumped += [question.name] * (question.name in self._dumped)
            elif question.name in self._failed:
                document[question.name] = _failure(self._failed[question.name])
            elif question.name in self._dumped:
                document[question.name] = told
        return document | {key: pool.sets for key, pool in pools.items() if key}

    @classmethod
    def from_json(cls, data: Any) -> Answers:
        """The answers in a document; what a later version added to it is ignored.

        Raises: ValueError with the key.
        """
        answers = cls()
        document = mapping(data, "answers")
        cards = {
            index(key): mapping(card, f"cards.{key}")
            for key, card in mapping(document.get("cards", {}), "cards").items()
        }
        dumped = items(document.get("dumped", []), "dumped")
        for question in QUESTIONS:
            name, form = question.name, question.form
            shared = items(document.get(form.pool, []), form.pool)
            pool = Pool(_numbers(item, form.pool) for item in shared)
            if question.ask is not None:
                for ifindex, card in cards.items():
                    if name in card:
                        answer = _read(form, card[name], f"cards.{ifindex}.{name}", pool)
                        answers.cards(question)[ifindex] = answer
                if name in dumped:
                    answers._dumped.add(name)
            elif name in document:
                told = _read_failure(document[name]) or {
                    index(key): form.read(answer, f"{name}.{key}", pool)
                    for key, answer in mapping(document[name], name).items()
                }
                answers.put_all(question, told)
        return answers


def or_raise(answer: A | Failure) -> A:
    """The answer. Raises: KernelError, UnsupportedError, if that was it."""
    if isinstance(answer, Failure):
        raise replace(answer)
    return answer


def no_dump(question: Question[A]) -> UnsupportedError:
    """The error for asking all cards what can only be asked of one."""
    return UnsupportedError(question.what, "the kernel does not tell of all cards at once")


def _of_all(held: Mapping[int, A | Failure]) -> Mapping[int, A]:
    """Those that are answers. Raises: KernelError, if one of them is."""
    found: dict[int, A] = {}
    for ifindex, answer in held.items():
        if isinstance(answer, KernelError):
            raise replace(answer)
        if not isinstance(answer, UnsupportedError):
            found[ifindex] = answer
    return found


def _written(form: Form[A], answer: A | Failure, pool: Pool) -> Any:
    return _failure(answer) if isinstance(answer, Failure) else form.write(answer, pool)


def _failure(failure: Failure) -> dict[str, Any]:
    if isinstance(failure, UnsupportedError):
        return {"unsupported": [failure.what, failure.why]}
    return {"error": [failure.operation, failure.target, failure.errno, failure.extack]}


def _read(form: Form[A], data: Any, what: str, pool: Pool) -> A | Failure:
    return _read_failure(data) or form.read(data, what, pool)


def _read_failure(data: Any) -> Failure | None:
    match data:
        case {"unsupported": [str(feature), str(why)]}:
            return UnsupportedError(feature, why)
        case {"error": [str(operation), str(target), int(number), str(extack)]}:
            return KernelError(operation, target, number, extack)
    return None


def _numbers(data: Any, what: str) -> dict[str, int]:
    return {
        str(name): whole(value, f"{what}.{name}") for name, value in mapping(data, what).items()
    }
