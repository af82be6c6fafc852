"""``dataclass``, whose classes cost a tenth of the standard library's when they are imported.

That compiles six methods of each class from text, whether they are ever called or not: nearly a
half of the daemon's imports, and 1.3 MB. Here ``__init__`` is compiled when the first instance is
made, and the other methods are closures that all classes share. Fields are the standard library's,
so its ``field``, ``fields``, ``replace`` and ``asdict``, and pydantic, take the classes as theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import MISSING, FrozenInstanceError, fields
from operator import attrgetter, ge, gt, le, lt
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **how: bool) -> Any:
        """As the standard library's: ``frozen``, ``slots``, ``kw_only``, ``order`` and ``eq``."""
        return (lambda cls: _make(cls, **how)) if cls is None else _make(cls, **how)


def _make(
    cls: type,
    *,
    frozen: bool = False,
    slots: bool = False,
    kw_only: bool = False,
    order: bool = False,
    eq: bool = True,
) -> type:
    doc = cls.__doc__
    cls.__doc__ = doc or cls.__name__  # else its signature is made and written there
    make = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
    cls = make(cls)
    cls.__doc__ = doc
    _add(cls, "__repr__", _repr)
    if frozen:
        _add(cls, "__setattr__", _refuse_to_set)
        _add(cls, "__delattr__", _refuse_to_delete)
        _add(cls, "__getstate__", _state)
        _add(cls, "__setstate__", _set_state)
    if eq:
        _compare(cls, frozen=frozen, order=order)
    if "__init__" not in cls.__dict__:
        _add(cls, "__init__", _first_init(cls, frozen=frozen))
    return cls


def _add(cls: type, name: str, method: Callable[..., Any]) -> None:
    if name not in cls.__dict__:
        setattr(cls, name, method)


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: Any, state: Sequence[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _compare(cls: Any, *, frozen: bool, order: bool) -> None:
    compared = [each.name for each in fields(cls) if each.compare]
    values = _getter(compared)

    def __eq__(self: object, other: object) -> bool:
        return values(self) == values(other) if type(self) is type(other) else NotImplemented

    own_hash = cls.__dict__.get("__hash__")  # None where the class has its own __eq__
    _add(cls, "__eq__", __eq__)
    if not frozen:
        cls.__hash__ = own_hash
    elif own_hash is None:
        hashed = [
            each.name for each in fields(cls) if (each.compare if each.hash is None else each.hash)
        ]
        of_hash = values if hashed == compared else _getter(hashed)
        cls.__hash__ = lambda self: hash(of_hash(self))
    for name, operator in ORDERS.items() if order else ():
        _add(cls, name, _ordering(operator, values))


ORDERS = {"__lt__": lt, "__le__": le, "__gt__": gt, "__ge__": ge}


def _ordering(
    operator: Callable[[Any, Any], bool], values: Callable[[object], Any]
) -> Callable[[object, object], bool]:
    return lambda self, other: (
        operator(values(self), values(other)) if type(self) is type(other) else NotImplemented
    )


def _getter(names: Sequence[str]) -> Callable[[object], Any]:
    """What takes these fields' values from an instance, to compare or to hash them."""
    return attrgetter(*names) if names else lambda _: ()


def _first_init(cls: Any, *, frozen: bool) -> Callable[..., None]:
    def __init__(self: object, *args: object, **kwargs: object) -> None:
        cls.__init__ = _init(cls, frozen=frozen)
        cls.__init__(self, *args, **kwargs)

    return __init__


def _init(cls: Any, *, frozen: bool) -> Callable[..., None]:
    """Compile ``__init__``; a frozen instance's slots are set past ``__setattr__``."""
    known: dict[str, Any] = {"MISSING": MISSING, "set_": object.__setattr__}
    positional, named, lines = ["self"], list[str](), ["pass"]
    for each in fields(cls):
        name, default, parameter, value = each.name, f"default_{each.name}", each.name, each.name
        if each.default is not MISSING:
            known[default] = each.default
            parameter = f"{name}={default}"
            value = name if each.init else default
        elif each.default_factory is not MISSING:
            known[default] = each.default_factory
            parameter = f"{name}=MISSING"
            value = f"{default}() if {name} is MISSING else {name}" if each.init else f"{default}()"
        elif not each.init:
            continue
        if each.init:
            (named if each.kw_only else positional).append(parameter)
        slot = getattr(cls, name, None)
        if not frozen:
            lines.append(f"self.{name} = {value}")
        elif isinstance(slot, MemberDescriptorType):
            known[f"set_{name}"] = slot.__set__
            lines.append(f"set_{name}(self, {value})")
        else:
            lines.append(f"set_(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    words = ", ".join([*positional, *(["*", *named] if named else [])])
    # no text from outside: names that are written in netuned's own classes
    exec(f"def __init__({words}):\n " + "\n ".join(lines), known)
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init
