"""``netuned-exporter``; also ``python -m netuned.metrics``."""

from __future__ import annotations

import sys

from netuned.metrics import LIBRARY, NO_CLIENT


def main() -> None:
    """Entry point."""
    try:
        from netuned.metrics import exporter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != LIBRARY:
            raise
        sys.exit(f"netuned-exporter: {NO_CLIENT}")
    exporter.main()


if __name__ == "__main__":
    main()
