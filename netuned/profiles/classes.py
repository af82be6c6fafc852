"""What the classes of the schema are made of, and how pydantic reads and validates them.

They are plain dataclasses; what annotates their fields stands here and tells pydantic, when it
asks, how YAML becomes a value. So a profile that was compiled before can be had without pydantic:
only what compiles one imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

from netuned.records import dataclass

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

JsonSchema = dict[str, Any]


class Mistake(ValueError):
    """What is wrong with a value.

    ``offset`` is the character of the value it points at, -1 for all; ``key`` the one it points at
    in a mapping.
    """

    def __init__(self, problem: str, offset: int = -1, key: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.offset = offset
        self.key = key


def keyed(key_of: Callable[[str], str]) -> Mapping[str, Any]:
    """What pydantic is told of a class: the key of each field, and that there are no others."""
    return {"extra": "forbid", "alias_generator": key_of}


class Spec:
    """A mapping of the schema: its keys are the fields, and no others are allowed."""

    __slots__ = ()
    __pydantic_config__: ClassVar[Mapping[str, Any]] = keyed(str)

    @classmethod
    def of(cls, data: object) -> Self:
        """What ``data`` says. Raises: pydantic.ValidationError."""
        found: Self = _adapter(cls).validate_python(data)
        return found

    @classmethod
    def by_key(cls) -> dict[str, str]:
        """The fields' names, by the keys that profiles have for them."""
        key_of = cls.__pydantic_config__["alias_generator"]
        return {key_of(field.name): field.name for field in fields(cls)}  # type: ignore[arg-type]  # each is a dataclass

    @classmethod
    def json_schema(cls) -> JsonSchema:
        """What pydantic tells of what may be written."""
        return _adapter(cls).json_schema(mode="validation")

    @classmethod
    def written(cls, handler: GetJsonSchemaHandler) -> JsonSchema:
        """The same within another class's."""
        return handler(_adapter(cls).core_schema)

    @classmethod
    def leaf(cls, field: str) -> Leaf | None:
        """How a field's value is validated; None for one that has no leaf, or that is none."""
        hint = _hints_of(cls).get(field)
        found = (mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Leaf))
        return next(found, None)


_adapters: dict[type[Spec], TypeAdapter[Any]] = {}
_hints: dict[type[Spec], dict[str, Any]] = {}


def _adapter(model: type[Spec]) -> TypeAdapter[Any]:
    if model not in _adapters:
        from pydantic import TypeAdapter  # 14 MB, for texts that were not compiled before

        _adapters[model] = TypeAdapter(model)
    return _adapters[model]


def _hints_of(model: type[Spec]) -> dict[str, Any]:
    if model not in _hints:
        _hints[model] = get_type_hints(model, include_extras=True)
    return _hints[model]


class Rooted(Spec):
    """A mapping whose keys people choose: its one field, ``root``, holds it."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        root = handler.generate_schema(_hints_of(cls)["root"])
        name = f"{cls.__module__}.{cls.__qualname__}:{id(cls)}"
        return core_schema.no_info_after_validator_function(cls, root, ref=name)

    @classmethod
    def written(cls, handler: GetJsonSchemaHandler) -> JsonSchema:
        return {**super().written(handler), "description": cls.__doc__}


@dataclass(frozen=True, slots=True)
class Leaf:
    """An annotation: how a value is validated, and its JSON Schema.

    pydantic's own PlainValidator builds schemas nobody asks for, at three times the import time.
    """

    validate: Callable[[Any], object]
    schema: JsonSchema
    models: tuple[type[Spec], ...] = ()
    """Models the value may be a mapping of; they join ``schema`` as alternatives."""
    show: Callable[[int], str] | None = None
    """How a number that was made of such a value is written; None: as its digits."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        if not self.models:
            return dict(self.schema)
        return {"anyOf": [*(model.written(handler) for model in self.models), self.schema]}


@dataclass(frozen=True, slots=True)
class First:
    """An annotation: what is asked of a value, or made of it, before its type is looked at."""

    check: Callable[[Any], object]
    written: Any = None
    """The type of what people write, for the JSON Schema, where it is another."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(
            self.check,
            handler(source),
            json_schema_input_schema=self.written and handler.generate_schema(self.written),
        )


@dataclass(frozen=True, slots=True)
class Last:
    """An annotation: what is asked of a value when it is as its type says, or made of it."""

    check: Callable[[Any], object]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))


@dataclass(frozen=True, slots=True)
class About:
    """An annotation: what a key is for, as editors and the JSON Schema tell it."""

    text: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        return {**handler(schema), "description": self.text}


def plain(value: object, *, by_key: bool = False) -> Any:
    """What the schema's classes hold as dicts, lists and single values.

    Named as the fields are or, ``by_key``, as a profile has it.
    """
    inner = partial(plain, by_key=by_key)
    if isinstance(value, Rooted):
        return inner(value.root)  # type: ignore[attr-defined]  # each has it
    if isinstance(value, Spec):
        names = value.by_key().items()
        return {key if by_key else name: inner(getattr(value, name)) for key, name in names}
    if isinstance(value, tuple):
        return [inner(item) for item in value]
    if isinstance(value, dict):
        return {key: inner(item) for key, item in value.items()}
    return value
