"""Isolation that changes at run time: seen by the slow resync, for the kernel raises no event."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from .lab import Lab

PROFILE = """\
match:
  - {kind: veth, name: lan0}
rps: {cpus: 0-1}
"""

RESYNC = """
import asyncio, subprocess, sys
from pathlib import Path
from netuned.kernel import Kernel
from netuned.reconcile.loop import Options, Reconciler
from tests.netns.listener import Silent

async def main():
    there = Path(sys.argv[1])
    options = Options((str(there / "profiles.d"),), there / "state", there / "run")
    kernel = Kernel()
    loop = Reconciler(kernel, options, Silent())
    await loop.start()
    mask = Path("/sys/class/net/lan0/queues/rx-0/rps_cpus")
    print(mask.read_text().strip())
    (there / "isolated").write_text("1\\n")
    subprocess.run(
        ["mount", "--bind", there / "isolated", "/sys/devices/system/cpu/isolated"], check=True
    )
    await loop.resync()
    await loop.look_at_isolation()
    await asyncio.sleep(0.3)
    print(mask.read_text().strip())
    writes = kernel.writes
    await loop.resync()
    await loop.look_at_isolation()
    await asyncio.sleep(0.3)
    print(kernel.writes - writes)
    await loop.close()

asyncio.run(main())
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "plan0", queues=4)
        yield made


def test_a_resync_sees_that_a_cpu_was_isolated(lab: Lab) -> None:
    lab.profile("edge", PROFILE)
    printed = lab.run(sys.executable, "-c", RESYNC, str(lab.directory)).stdout
    assert printed.split() == ["3", "1", "0"]
