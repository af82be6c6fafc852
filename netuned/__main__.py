"""``netuned``, the daemon; also ``python -m netuned``."""

from __future__ import annotations

import gc
import sys
from types import ModuleType


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
    gc.disable()  # imports make no garbage, and daemon.main enables it again
    from netuned import daemon

    daemon.main()


if __name__ == "__main__":
    main()
