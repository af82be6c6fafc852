"""netuned's dataclasses behave as the standard library's of the same text."""

import copy
import dataclasses
import gc
import importlib
import operator
import pickle
import pkgutil
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any, ClassVar

import pytest

import netuned
from netuned import records


def _frozen(decorator: Any) -> type[Any]:
    @decorator(frozen=True, slots=True)
    class Ring:
        """A card's ring."""

        KIND: ClassVar[str] = "rx"
        size: int
        most: int = 4096
        names: list[str] = field(default_factory=list, hash=False)
        seen: int = field(default=0, compare=False, repr=False)
        half: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "half", self.size // 2)

    return Ring


def _ordered(decorator: Any) -> type[Any]:
    @decorator(frozen=True, slots=True, order=True)
    class Ring:
        size: int
        most: int = 1

    return Ring


def _mutable(decorator: Any) -> type[Any]:
    @decorator(slots=True)
    class Ring:
        size: int
        most: dict[str, int] = field(default_factory=dict)
        seen: set[int] = field(init=False, default_factory=set)

    return Ring


def _plain(decorator: Any) -> type[Any]:
    @decorator
    class Ring:
        size: int
        most: int = 0

    return Ring


def _named(decorator: Any) -> type[Any]:
    @decorator(frozen=True, slots=True, kw_only=True)
    class Base:
        most: int = 3
        size: int

    @decorator(frozen=True, slots=True)
    class Ring(Base):
        lane: int = 7

    return Ring


def _own(decorator: Any) -> type[Any]:
    @decorator(frozen=True, slots=True)
    class Ring:
        size: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 3

        def __repr__(self) -> str:
            return "a ring"

    return Ring


def _apart(decorator: Any) -> type[Any]:
    @decorator(slots=True, eq=False)
    class Ring:
        size: int

    return Ring


def _empty(decorator: Any) -> type[Any]:
    @decorator(frozen=True, slots=True)
    class Ring:
        pass

    return Ring


KINDS = (_frozen, _ordered, _mutable, _plain, _named, _own, _apart, _empty)
CALLS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}),
    ((1,), {}),
    ((2,), {"most": 5}),
    ((), {"size": 1}),
    ((), {"size": 1, "lane": 2}),
    ((1, 2, 3, 4, 5, 6), {}),
    ((), {"other": 1}),
)


def _answer(of: Callable[..., Any], *words: Any, **named: Any) -> Any:
    try:
        return of(*words, **named)
    except TypeError:
        return TypeError


@pytest.mark.parametrize("kind", KINDS)
def test_instances_are_made_alike(kind: Callable[[Any], type[Any]]) -> None:
    ours, theirs = kind(records.dataclass), kind(dataclasses.dataclass)
    made = 0
    for words, named in CALLS:
        own, other = _answer(ours, *words, **named), _answer(theirs, *words, **named)
        if other is TypeError:
            assert own is TypeError
            continue
        made += 1
        assert repr(own) == repr(other)
        assert hasattr(own, "__dict__") == hasattr(other, "__dict__")
        for each in fields(other):
            assert getattr(own, each.name) == getattr(other, each.name)
    assert made


def _comparisons(cls: type[Any]) -> list[tuple[Any, ...]]:
    made = [_answer(cls, *words, **named) for words, named in CALLS for _ in range(2)]
    some = [each for each in made if each is not TypeError]
    return [
        (
            one == other,
            one == object(),
            _answer(operator.lt, one, other),
            _answer(operator.ge, one, other),
            _answer(hash, one) == _answer(hash, other),
            _answer(hash, one) is TypeError,
        )
        for one in some
        for other in some
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_instances_compare_alike(kind: Callable[[Any], type[Any]]) -> None:
    theirs = _comparisons(kind(dataclasses.dataclass))
    assert _comparisons(kind(records.dataclass)) == theirs
    assert theirs


def test_what_is_frozen_is_not_set() -> None:
    ring = _frozen(records.dataclass)(1)
    with pytest.raises(FrozenInstanceError):
        ring.size = 2
    with pytest.raises(FrozenInstanceError):
        del ring.size
    assert ring.size == 1


@records.dataclass(frozen=True, slots=True)
class Lane:
    number: int
    speeds: tuple[int, ...] = ()


def test_what_is_frozen_can_be_copied_and_changed() -> None:
    lane = Lane(1, (10, 25))
    assert copy.copy(lane) == copy.deepcopy(lane) == pickle.loads(pickle.dumps(lane)) == lane
    assert replace(lane, number=2) == Lane(2, (10, 25))
    assert dataclasses.asdict(lane) == {"number": 1, "speeds": (10, 25)}
    match lane:
        case Lane(number, speeds):
            assert (number, speeds) == (1, (10, 25))


def test_an_error_names_the_class() -> None:
    with pytest.raises(TypeError, match=r"Lane\.__init__\(\) missing 1 required"):
        Lane()  # type: ignore[call-arg]


def test_a_class_without_a_docstring_gets_none() -> None:
    assert Lane.__doc__ is None
    assert _frozen(records.dataclass).__doc__ == "A card's ring."


def test_each_of_netuneds_can_be_made() -> None:
    """Of a mistake in the order of its fields an import would not tell."""
    for each in pkgutil.walk_packages(netuned.__path__, "netuned."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    made = 0
    for cls in filter(dataclasses.is_dataclass, gc.get_objects()):
        if isinstance(cls, type) and cls.__module__.startswith("netuned."):
            records._init(cls, frozen=True)
            made += 1
    assert made > 200
