"""Every error says what to do next: in its own sentence, or by what its type adds to it."""

from __future__ import annotations

import ast
import errno
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned import errors
from netuned.cli.main import run
from netuned.errors import KernelError, NamespaceError, NetunedError

ROOT = Path(errors.__file__).parent
BY_ITSELF = {
    "NetunedError", "NamespaceError", "BusError", "AbsentError", "StartingError", "HistoryError",
}  # fmt: skip
"""Those whose type has nothing to add: each sentence says it."""
NEXT = re.compile(
    r"`|systemctl |EDITOR=|--[a-z]"
    r"|[;,:] (?:first|ask|explain|move|name|say|see|start|take|try|use|write)\b"
)
"""A command to run, or a sentence that asks for something."""
PASSED_ON = {
    "no_such": "says which there are, and which is meant",
    "own_name": "the same",
    "_explanation": "what the daemon says, which is an error of this tree there",
    "error": "an error of this tree",
    "str(error)": "an error of this tree",
    "'; '.join(errors)": "errors of this tree",
    "'; '.join(problems)": "errors of this tree",
    "'; '.join(problems) + again": "errors of this tree",
}
"""Sentences that are made elsewhere: a function's name or an expression, and what it tells."""


def _raised() -> Iterator[tuple[str, str, ast.expr, ast.Module]]:
    """Where, the type's name, the sentence and its module, of each error that says all itself."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[sentence, *_])):
                    if name in BY_ITSELF - {"NamespaceError"}:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", name, sentence, tree


def _text(sentence: ast.expr, tree: ast.Module) -> str:
    """What of a sentence stands in the code: in constants and the module's own functions, too."""
    own: dict[str, ast.AST] = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                own[name] = value
            case ast.FunctionDef(name=name):
                own[name] = node
            case ast.ImportFrom(module=module, names=names):
                for name in (one.name for one in names if one.name.isupper()):
                    said = getattr(importlib.import_module(str(module)), name, "")
                    own[name] = ast.Constant(str(said))
    found: list[str] = []
    todo: list[ast.AST] = [sentence]
    while todo:
        for node in ast.walk(todo.pop()):
            match node:
                case ast.Constant(value=str(text)):
                    found.append(text)
                case ast.Name(id=name) | ast.Attribute(attr=name) if name in own:
                    todo.append(own.pop(name))
    return "".join(found)


RAISED = [*_raised()]


@pytest.mark.parametrize(
    ("name", "sentence", "tree"), [each[1:] for each in RAISED], ids=[each[0] for each in RAISED]
)
def test_a_sentence_says_what_is_next(name: str, sentence: ast.expr, tree: ast.Module) -> None:
    words = {node.id for node in ast.walk(sentence) if isinstance(node, ast.Name)}
    if ast.unparse(sentence) in PASSED_ON or words & PASSED_ON.keys():
        return
    assert NEXT.search(_text(sentence, tree)), f"{name}: {ast.unparse(sentence)}"


def _types(root: type[NetunedError]) -> Iterator[type[NetunedError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _types(kind)


def test_each_other_type_adds_what_is_next() -> None:
    importlib.import_module("netuned.daemon")
    for kind in _types(NetunedError):
        if kind.__name__ not in BY_ITSELF and kind.__module__.startswith("netuned."):
            assert kind.mend, kind.__name__
    numbers = (errno.EPERM, errno.ENODEV, errno.EBUSY, errno.ENOMEM, errno.EIO)
    said = {KernelError("set", "rings of eth0", number).whole() for number in numbers}
    assert {sentence.partition("; ")[2] for sentence in said} == {
        "try it as root, with `sudo`",
        "`netunedctl status` shows the cards that are here now",
        "try it again",
        "`dmesg` may say more",
    }
    assert NEXT.search(str(NamespaceError(("eth0",))))


def test_netunedctl_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--snapshot", "/nonexistent"]) == 1
    assert capsys.readouterr().err == (
        "netunedctl: /nonexistent: cannot be read: No such file or directory; "
        "`netunedctl snapshot FILE` takes one of a host\n"
    )
