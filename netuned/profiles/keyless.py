"""Profiles without RSS hash keys, in whatever form of YAML these are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from netuned.profiles.yamlreading import parse_yaml
from netuned.text import HASH_KEY, without_keys

_PATH = ("rss", "key")


def keyless(content: bytes, path: str) -> bytes:
    """A profile with ``keep`` in place of its hash key, its lines where they were.

    A key that is a mistake is ``hidden``, and stays one. Comments are as they were.

    Raises: ProfileError where the content is not a profile's form of YAML (docs/profiles.md),
    for then nobody can say what in it is a key.
    """
    _, errors = parse_yaml(content, path)
    if errors:
        raise errors[0]
    text = content.decode("utf-8").removeprefix("\ufeff")
    parts = []
    done = 0
    for root in yaml.compose_all(text, Loader=yaml.CSafeLoader):
        for node, said in _replaced(root, ()):
            start, end = node.start_mark.index, node.end_mark.index
            parts += [text[done:start], said, "\n" * text.count("\n", start, end)]
            done = end
    return "".join((*parts, text[done:])).encode()


def _replaced(node: Any, at: tuple[str, ...]) -> Iterator[tuple[Any, str]]:
    """The nodes that hold a key, or part of one, and what is to stand in their places."""
    if at == _PATH and node.value not in ("keep", "default"):
        right = isinstance(node.value, str) and HASH_KEY.fullmatch(node.value)
        yield node, "keep" if right else "hidden"
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _replaced(key, ())
            yield from _replaced(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _replaced(item, (*at, ""))
    elif without_keys(node.value) != node.value:
        yield node, json.dumps(without_keys(node.value), ensure_ascii=False)
