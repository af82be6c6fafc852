"""``netuned``, the daemon; also ``python -m netuned``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from types import ModuleType

from netuned.leanness import leave_out

M_ARENA_MAX = -8
"""mallopt(3), malloc.h."""


def main() -> None:
    """Entry point."""
    load().main()


def load() -> ModuleType:
    """Import the daemon, for no more than it takes. Returns ``netuned.daemon``."""
    leave_out()
    # an arena of the allocator for each worker thread would cost 0.3 MB; musl has no such call
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    gc.disable()  # imports make no garbage, and daemon.main enables it again
    from netuned import daemon

    return daemon


if __name__ == "__main__":
    main()
