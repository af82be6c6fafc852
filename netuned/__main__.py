"""``python -m netuned`` is the daemon."""

from __future__ import annotations

from netuned.daemon import main

main()
