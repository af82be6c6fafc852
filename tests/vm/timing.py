"""How long the lab's steps take, on the monotonic clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Runs from its making until `stop`."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._stopped: float | None = None

    @property
    def elapsed_s(self) -> float:
        return (self._stopped or time.monotonic()) - self._start

    def stop(self) -> None:
        self._stopped = time.monotonic()


durations: list[tuple[str, float]] = []
"""(step, seconds) of every step that `timed` has seen end well, in order."""


@contextmanager
def timed(step: str) -> Iterator[Stopwatch]:
    """Measure a block and keep its duration."""
    watch = Stopwatch()
    yield watch
    watch.stop()
    durations.append((step, watch.elapsed_s))
