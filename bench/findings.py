"""What ``netunedctl doctor`` finds: what is made, described or really, and what is well."""

from __future__ import annotations

from collections import Counter

from bench.table import Row
from netuned.doctor.examine import examine
from tests.netns import test_doctor as running
from tests.unit import test_doctor as described
from tests.unit.doctored import LOADS
from tests.unit.test_lscpu import MACHINES, healthy, topology_of
from tests.vm import test_doctor as booted

DESCRIBED_ALONE = {
    "interrupt-rate": "an emulated card raises 8,000 interrupts a second at most (vmxnet3, each "
    "for two packets), it begins with 10,000",
    "slow-bus": "QEMU's cards say that 2.5 GT/s x1 is all they can, in a port of 16 GT/s x32 too",
    "strict-iommu": "it begins with 100,000 packets a second, an emulated card has 40,000 at most",
    "pause-frames": "no emulated card sends or counts them (2,000 sent to igb moved "
    "nothing), and netdevsim's counts stand still",
}
"""Finding -> why no test makes it happen, on a card or CPU that is at hand."""


def measure() -> list[Row]:
    """A row for each finding, then of states that are well; a false alarm is over the bound."""
    made, found, alarms = Counter[str](), Counter[str](), Counter[str]()
    for name, facts, what, well, calm in described.MADE:
        made[name] += 1
        found[name] += name in [finding.name for finding in examine(facts, what)]
        alarms[name] += name in [finding.name for finding in examine(well, calm)]
    states = {"described": [*described.healthy()]}
    states["real machines' CPUs"] = [
        healthy(topology_of(name), load) for name in MACHINES for load in LOADS
    ]
    rows = []
    for name in made:
        places = [
            where for where, names in (("a namespace", running.NAMES), ("the VM", booted.NAMES))
            if name in names
        ]  # fmt: skip
        really = (
            f"made to happen in {' and '.join(places)}"
            if places
            else f"described alone: {DESCRIBED_ALONE[name]}"
        )
        said = f"found {found[name]} of {made[name]} described; {really}"
        rows.append(Row(f"doctor: {name}", made[name] - found[name] + alarms[name], "", 0, said))
    for kind, of in states.items():
        count = sum(bool(examine(*state)) for state in of)
        rows.append(Row(f"false alarms, {kind}", count, "", 0, f"{len(of)} healthy states"))
    return rows
