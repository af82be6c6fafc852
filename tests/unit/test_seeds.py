"""The same plan from every run of Python, which hashes words by a seed of its own each time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from netuned.cli.main import run
from netuned.hardware.topology import Topology
from netuned.placement.objective import Layout
from netuned.placement.place import Request, place
from tests.unit.machines import topology

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ("0", "3", "5")
MACHINES = 2
BONDS = ("", "", "bond0", "bond1", "wan")

FIVE_CARDS = ((1, "bond0"), (1, "bond0"), (1, "bond1"), (1, "bond1"), (3, ""))
"""Queues and bond of each: the first plan that was seen to depend on the seed."""

DESCRIBED = """\
cores: 2
threads: 2
cards:
  - {name: en0, driver: igb, queues: 1}
  - {name: en1, driver: igb, queues: 1}
  - {name: en2, driver: igb, queues: 1}
  - {name: en3, driver: igb, queues: 1}
  - {name: en4, driver: igb, queues: 3}
  - {name: bond0, kind: bond, over: [en0, en1]}
  - {name: bond1, kind: bond, over: [en2, en3]}
"""
EDGE = """\
match: [{driver: igb}, {name: "bond*"}]
irq: {}
rss: {queues: all}
rps: {cpus: auto}
xps: {cpus: auto}
qdisc: {kind: fq, flow_limit: 100, quantum: 3000}
coalesce: {rx-usecs: 5, tx-usecs: 6}
"""


def layouts() -> Iterator[dict[int, Layout]]:
    yield _bonded(topology(cores=2, threads=2), FIVE_CARDS)
    drawn = random.Random(1)
    for _ in range(MACHINES):
        machine = topology(drawn.randint(1, 2), drawn.randint(1, 2), drawn.randint(1, 2), 2)
        cards = [(drawn.randint(1, 3), drawn.choice(BONDS)) for _ in range(4)]
        yield _bonded(machine, cards)


def _bonded(machine: Topology, cards: Iterable[tuple[int, str]]) -> dict[int, Layout]:
    return place(
        machine,
        [
            Request((f"/sys/devices/{n}", f"en{n}"), n, queues, machine.online, group=bond)
            for n, (queues, bond) in enumerate(cards)
        ],
    ).layouts


def show_everything(directory: Path) -> None:
    """Print those layouts and all that is planned for the described machine."""
    for found in layouts():
        print({ifindex: [str(cpus) for cpus in layout] for ifindex, layout in found.items()})
    (directory / "machine.yaml").write_text(DESCRIBED)
    profiles = directory / "profiles"
    profiles.mkdir()
    for name in ("edge", "same"):  # who wins is a conflict, and told
        (profiles / f"{name}.yaml").write_text(EDGE)
    where = ["--snapshot", str(directory / "machine.yaml"), "--profiles", str(profiles)]
    run(["plan", *where])
    run(["explain", *where, "en4", "0"])


def test_the_plan_is_the_same_under_every_seed(tmp_path: Path) -> None:
    runs = []
    for seed in SEEDS:
        directory = tmp_path / seed
        directory.mkdir()
        words = [sys.executable, "-m", "tests.unit.test_seeds", str(directory)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        runs.append(subprocess.Popen(words, cwd=ROOT, env=env, stdout=-1, stderr=-1, text=True))
    told = {
        seed: done.communicate()[0].replace(str(tmp_path / seed), "")
        for seed, done in zip(SEEDS, runs, strict=True)
    }
    assert [done.returncode for done in runs] == [0] * len(runs)
    assert "irq" in told["0"]
    assert all(one == told["0"] for one in told.values())


if __name__ == "__main__":
    show_everything(Path(sys.argv[1]))
