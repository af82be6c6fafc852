"""One turn's window: the load, if there is one, and what is counted while it runs."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import IO

from netuned.counters.sample import between
from netuned.counters.take import Taker
from netuned.errors import NetunedError
from netuned.experiment.energy import read_energy, watts
from netuned.experiment.load import told_by
from netuned.experiment.measures import measured
from netuned.hardware.nic import Nic
from netuned.kernel import Kernel
from netuned.records import dataclass

SECONDS = "{seconds}"
"""In a load's command: how long it has to last."""
LATE_S = 15.0
"""How much longer a load may take that was told how long to last, or to end."""
STEP_S = 1.0
MOST_STEPS = 120
TOLD = 300
"""Characters of a load's last words that are shown where it failed."""


@dataclass(frozen=True, slots=True)
class Times:
    """Of one turn, in seconds: after the change, under load before it counts, and counted."""

    settle_s: float
    warm_up_s: float
    window_s: float

    @property
    def load_s(self) -> int:
        """How long a load has to last."""
        return math.ceil(self.warm_up_s + self.window_s + 1)

    @property
    def turn_s(self) -> int:
        """At most, with what is waited for at its end."""
        return math.ceil(self.settle_s + self.load_s + 2 * LATE_S)


Measures = Mapping[str, float]


def counted(
    kernel: Kernel, nic: Nic, times: Times, load: str
) -> tuple[Measures, tuple[Measures, ...]]:
    """What a card and its host did in the window; and step by step, of a second or more each.

    ``load`` is a command that runs meanwhile, nothing where what is there anyway is measured.
    Raises: NetunedError, also where the load failed or ended too early.
    """
    time.sleep(times.settle_s)
    taker = Taker(kernel)
    steps = max(min(int(times.window_s / STEP_S), MOST_STEPS), 1)
    with _running(load, times) as running:
        time.sleep(times.warm_up_s)
        energy, wraps = read_energy(kernel.files)
        samples = [taker.take({nic.ifindex: nic})]
        for step in range(1, steps + 1):
            due = samples[0].at + times.window_s * step / steps
            time.sleep(max(due - time.monotonic(), 0))
            samples.append(taker.take({nic.ifindex: nic}))
            if running and step < steps:
                running.check()
        used = watts(energy, read_energy(kernel.files)[0], wraps, samples[-1].at - samples[0].at)
        told = running.ended() if running else {}
    each = tuple(measured(between(*pair), nic.ifindex) for pair in pairwise(samples))
    return {**measured(between(samples[0], samples[-1]), nic.ifindex, used), **told}, each


class _Load:
    """A command that runs, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes], *, ends: bool) -> None:
        self._process = process
        self._said = said
        self._ends = ends

    def check(self) -> None:
        """Raises: NetunedError where it has ended though the window has not."""
        if (status := self._process.poll()) is not None:
            raise NetunedError(
                f"the load ended before the window did, with status {status}; write {SECONDS} "
                f"where its command says how long it lasts: {self._output().strip()[-TOLD:]!r}"
            )

    def ended(self) -> dict[str, float]:
        """Let it come to its end, or end it, and read what it tells.

        Raises: NetunedError where it failed, ended before, or does not end.
        """
        self.check()
        if not self._ends:
            os.killpg(self._process.pid, signal.SIGINT)  # iperf3 tells then what it has done
        try:
            status = self._process.wait(LATE_S)
        except subprocess.TimeoutExpired:
            raise NetunedError(
                f"the load did not end within {LATE_S:.0f} s of SIGINT, or of its time; write "
                f"{SECONDS} where its command says how long it lasts"
            ) from None
        output = self._output()
        if self._ends and status:
            raise NetunedError(
                f"the load failed with status {status}; start it by hand: "
                f"{output.strip()[-TOLD:]!r}"
            )
        return told_by(output)

    def _output(self) -> str:
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace")


@contextlib.contextmanager
def _running(load: str, times: Times) -> Iterator[_Load | None]:
    """The load, ended at the latest with this process. Raises: NetunedError."""
    if not load:
        yield None
        return
    words = shlex.split(load.replace(SECONDS, str(times.load_s)))
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise NetunedError(
                f"setpriv: {error.strerror}; it is of util-linux, see that it is installed"
            ) from None
        try:
            yield _Load(process, said, ends=SECONDS in load)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
