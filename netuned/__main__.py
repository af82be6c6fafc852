"""``netuned``, the daemon; also ``python -m netuned``."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Entry point."""
    # OpenSSL would cost 8 MB and 15 ms and serve nothing here: asyncio works without ssl, and
    # hashlib has its own hashes. None makes their import fail as in a Python built without it.
    for name in ("ssl", "_hashlib"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    gc.disable()  # imports make no garbage, and daemon.main enables it again
    from netuned import daemon

    daemon.main()


if __name__ == "__main__":
    main()
