"""The daemon with other limits to repairs: ``python -m tests.netns.scaled``.

A test's minute is shorter, and a benchmark that breaks a setting over and over is not a quarrel.
"""

from __future__ import annotations

import json
import os
from functools import partial

from netuned import __main__ as netuned_main
from netuned import daemon
from netuned.reconcile.contention import Limits
from netuned.reconcile.loop import Options

LIMITS = "NETUNED_TEST_LIMITS"
"""The environment's variable: ``Limits`` as JSON."""

if __name__ == "__main__":
    limits = Limits(**json.loads(os.environ[LIMITS]))
    setattr(daemon, "Options", partial(Options, contention=limits))  # noqa: B010  # not its own
    netuned_main.main()
