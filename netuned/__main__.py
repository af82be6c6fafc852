"""``netuned``, the daemon; also ``python -m netuned``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from types import ModuleType

M_ARENA_MAX = -8
"""mallopt(3), malloc.h."""


def main() -> None:
    """Entry point."""
    # OpenSSL would cost 8 MB and 15 ms and serve nothing here: asyncio works without ssl, and
    # hashlib has its own hashes. None makes their import fail as in a Python built without it.
    for name in ("ssl", "_hashlib"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    # pydantic asks for plugins, of which there are to be none; email and zipfile, which come along
    # with the module that knows, would cost 2.6 MB
    metadata = ModuleType("importlib.metadata")
    metadata.entry_points = lambda **_: ()  # type: ignore[attr-defined]
    sys.modules.setdefault(metadata.__name__, metadata)
    # an arena of the allocator for each worker thread would cost 0.3 MB; musl has no such call
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    gc.disable()  # imports make no garbage, and daemon.main enables it again
    from netuned import daemon

    daemon.main()


if __name__ == "__main__":
    main()
