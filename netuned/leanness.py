"""What libraries would import and is left out: it costs time and memory and serves nothing here."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import HelpFormatter


def leave_out() -> None:
    """Leave out OpenSSL, and what looks for plugins of pydantic; before anything is imported."""
    # OpenSSL would cost 8 MB and 15 ms: asyncio works without ssl, and hashlib has its own hashes.
    # None makes their import fail as in a Python built without it.
    for name in ("ssl", "_hashlib"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    # pydantic asks for plugins, of which there are to be none; email and zipfile, which come along
    # with the module that knows, would cost 2.6 MB
    metadata = ModuleType("importlib.metadata")
    metadata.entry_points = lambda **_: ()  # type: ignore[attr-defined]
    sys.modules.setdefault(metadata.__name__, metadata)
    # dataclasses would have inspect write docstrings, which records.py has it not do: 5 ms
    if "dataclasses" not in sys.modules and "inspect" not in sys.modules:
        sys.modules["inspect"] = _Late("inspect")
        import dataclasses  # noqa: F401

        del sys.modules["inspect"]


class _Late(ModuleType):
    """A module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


def help_formatter(prog: str) -> HelpFormatter:
    """Help 80 columns wide: to ask for the terminal's width argparse imports shutil, for 2 ms."""
    from argparse import HelpFormatter

    return HelpFormatter(prog, width=78)


def let_in(name: str) -> None:
    """Let a module be imported that was left out, for a library that is nothing without it."""
    if name in sys.modules and getattr(sys.modules[name], "__spec__", None) is None:
        del sys.modules[name]
