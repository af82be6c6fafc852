"""The daemon with a minute of backoff as long as a test has: ``python -m tests.netns.scaled``."""

from __future__ import annotations

import os
from functools import partial

from netuned import __main__ as netuned_main
from netuned import daemon
from netuned.contention import Limits

BACKOFF_S = "NETUNED_TEST_BACKOFF_S"

if __name__ == "__main__":
    backoff_s = float(os.environ[BACKOFF_S])
    limits = Limits(backoff_s=backoff_s, quiet_s=2 * backoff_s)
    daemon.Options = partial(daemon.Options, contention=limits)  # type: ignore[assignment,misc]
    netuned_main.main()
