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

NOT_SURE = "an emulated card needs a CPU with nothing else to do for it, which is no sure thing"
DESCRIBED_ALONE = {
    "other-l3": "the guest's sockets are its nodes, and have one L3 domain each",
    "elephant-flow": NOT_SURE,
    "other-node": NOT_SURE,
    "rps-missing": NOT_SURE,
    "interrupt-rate": "an emulated card raises 4,000 interrupts a second, it begins with 10,000",
    "adaptive-latency": "simulated cards alone have it, and count what they receive on new kernels",
    "slow-bus": "QEMU's cards can do no more than the PCIe link that they have, 2.5 GT/s x1",
    "strict-iommu": "it begins with 25 Gbit/s and 100,000 packets a second",
    "pause-frames": "no emulated card sends them, and netdevsim's counts stand still",
    "late-wake-ups": "emulated CPUs have neither idle states nor governors",
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
