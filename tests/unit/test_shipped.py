"""The profiles that come with netuned, each planned on six described machines.

``golden/shipped/NAME.yaml`` has what a file of a few lines makes of a profile, by machine; a value
that several queues have is one line. ``NETUNED_WRITE_GOLDEN=1`` writes it, to be judged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from netuned.plan import Plan
from netuned.snapshots import offline

SHIPPED = Path(__file__).parents[2] / "profiles"
GOLDEN = Path(__file__).with_name("golden") / "shipped"
MACHINES = {
    "guest of 2 CPUs": "{cores: 2, cards: [{name: en0, driver: virtio_net, queues: 2}]}",
    "guest with isolated CPUs": """\
{cores: 8, isolated: 4-7, cards: [{name: en0, driver: virtio_net, queues: 2, maximum: 4}]}""",
    "1 GbE, 4 cores": "{cores: 4, cards: [{name: en0, driver: igb, queues: 4}]}",
    "two CCDs": """\
{l3s: 2, cores: 6, threads: 2, cards: [{name: en0, driver: mlx5_core, queues: 24}]}""",
    "two nodes": """\
{nodes: 2, cores: 8, threads: 2, cards: [{name: en0, driver: ice, node: 1, queues: 16}]}""",
    "cloud": "{cores: 8, threads: 2, cards: [{name: en0, driver: ena, queues: 8}]}",
}
ENABLED = {
    "af-xdp": """\
offloads: {ntuple: on}
flows: [{match: {proto: udp4, dport: 4789}, to: queue 4}]
""",
    "zero-copy": "flows: [{match: {proto: tcp6, dport: 443}, to: queue 7}]\n",
    "bulk-100g": 'cpus: {app: "1"}\n',
}


def plan(tmp_path: Path, name: str, machine: str, more: str = "") -> Plan:
    (tmp_path / "mine.yaml").write_text(f"extends: [{name}]\nmatch: {{name: en0}}\n{more}")
    (tmp_path / "machine.yaml").write_text(machine)
    directories = (str(tmp_path), str(SHIPPED))
    (tmp_path / "machine.yaml").rename(tmp_path / "machine.txt")
    kernel, profiles = offline.load(str(tmp_path / "machine.txt"), directories)
    assert profiles.errors == ()
    return offline.plan(kernel, profiles)


def lines(found: Plan) -> Iterator[str]:
    """A line for each setting and value; queues by their number."""
    seen: dict[str, int] = {}
    for change in found.changes:
        what = re.sub(
            r"\b((?:rx|tx|rxtx)-)[0-9]+", r"\1N", f"{change.tunable} {change.key}".strip()
        )
        line = f"{what}: {change.after}"
        seen[line] = seen.get(line, 0) + 1
    yield from (f"{line} ({count} times)" if count > 1 else line for line, count in seen.items())
    yield from (f"{lack.tunable} lacks: {lack.why}" for lack in found.unsupported)
    yield from (f"problem: {problem.message.rpartition('yaml:')[2]}" for problem in found.problems)


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_shipped_profile_is_planned_as_before(name: str, tmp_path: Path) -> None:
    shown = {
        machine: list(lines(plan(tmp_path, name, text, ENABLED.get(name, ""))))
        for machine, text in MACHINES.items()
    }
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("NETUNED_WRITE_GOLDEN") == "1":
        path.write_text(yaml.safe_dump(shown, sort_keys=False, width=1000, allow_unicode=True))
    assert yaml.safe_load(path.read_text()) == shown


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("bulk-100g", 'cpus: {app: "8"}\nrings: {rx: 4096}\n', "irq rxtx-N: 6"),
        ("bulk-100g", 'cpus: {app: "8"}\nrings: {rx: 2048}\n', "rings rx: 2048 entries"),
        ("zero-copy", "rss: {queues: 0-3}\n", "napi rx-N defer-hard-irqs: 100 polls (4 times)"),
        ("zero-copy", "host: {hugepages: {2M: {node0: 512}}}\n", "hugepages 2M/node0: 512"),
        ("forwarding", 'cpus: {irq: "3"}\n', "irq rxtx-0: 3"),
        ("realtime", "bql: {max: 32K}\n", "bql tx-N max: 32768 bytes (12 times)"),
    ],
)
def test_one_value_is_changed_by_its_key(
    name: str, more: str, expected: str, tmp_path: Path
) -> None:
    shown = "\n".join(lines(plan(tmp_path, name, MACHINES["two CCDs"], more)))
    assert re.sub(r"-[0-9N]+\b", "-N", expected) in re.sub(r"-[0-9N]+\b", "-N", shown), shown
