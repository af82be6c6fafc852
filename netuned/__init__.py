"""netuned keeps a host's network cards in the state its YAML profiles describe."""

from __future__ import annotations

__version__ = "0.1.0"
