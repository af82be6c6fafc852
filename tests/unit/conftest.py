"""A machine that is busy fails no test: none has a limit of real time for an example."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
