"""``netuned``, the daemon; also ``python -m netuned``."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point."""
    # asyncio works without ssl, which costs 4 MB and 15 ms and serves nothing here
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]  # None makes "import ssl" fail
    from netuned import daemon

    daemon.main()


if __name__ == "__main__":
    main()
