"""Message classes of rtnetlink and tc: pyroute2 frames what netuned sends there.

tc's options are nests and structs that would be long by hand; generic netlink is framed by
``tables``, in a fraction of the time. pyroute2's decoding is not used: some answers that are cut
off it does not end on, of others it logs a traceback (0.9.7). Nor are its sockets: they swallow an
error that ends a dump (NLMSG_DONE), bind one message class per request, end a dump silently on
ENOBUFS, and run asyncio in threads.

``import pyroute2`` runs the whole library: 24.7 MB resident, 216 ms. This module is the one place
that imports it, and only ``pyroute2.netlink``: 3.3 MB and 20 ms alone; 1.7 MB and 12 ms with all of
``kernel/`` in a process that has asyncio, pydantic and dbus-fast, with whose imports it overlaps.

Source: pyroute2 0.9.7.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any

from netuned.kernel.netlink import NLM_F_ACK, NLM_F_REQUEST


def _import_pyroute2() -> Any:
    """Import ``pyroute2.netlink`` without running ``pyroute2/__init__``, which imports everything.

    A bare package of that name, with its search path, goes into ``sys.modules`` first. Where
    pyroute2 has been imported already, it is used as it is.
    """
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("netuned needs the package pyroute2", name="pyroute2")
        bare = types.ModuleType("pyroute2", f"Only what netuned imports; see {__name__}.")
        bare.__path__ = list(spec.submodule_search_locations)
        bare.__spec__ = spec
        sys.modules["pyroute2"] = bare
    return importlib.import_module("pyroute2.netlink")


_pyroute2 = _import_pyroute2()


def message_class(name: str, *attributes: tuple[int, str, str], **members: Any) -> Any:
    """A pyroute2 class of rtnetlink messages; ``attributes`` are (number, name, type)."""
    return type(name, (_pyroute2.nlmsg,), {"nla_map": attributes, **members})


def attribute_class(name: str, *attributes: tuple[int, str, str], **members: Any) -> Any:
    """A pyroute2 class of one attribute: nested ``attributes``, or a struct (``fields=``)."""
    if attributes:
        members["nla_map"] = attributes
    return type(name, (_pyroute2.nla,), members)


def encode(message: Any, kind: int, flags: int = 0) -> bytes:
    """The bytes of a pyroute2 message of type ``kind``, as ``NetlinkSocket.request`` takes them."""
    message["header"]["type"] = kind
    message["header"]["flags"] = flags | NLM_F_REQUEST | NLM_F_ACK
    message.encode()
    return bytes(message.data)
