"""What the processors' packages have used, by RAPL: where the machine counts it, and root may read.

Source: Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from collections.abc import Mapping

from netuned.errors import KernelError
from netuned.kernel.files import FileTree

DIRECTORY = "/sys/class/powercap"


def read_energy(files: FileTree) -> tuple[dict[str, int], dict[str, int]]:
    """Microjoules by package, and past how many each begins anew; both empty where there is none.

    AMD's are named alike. Zones below a package (cores, DRAM) are in it or beside what CPUs use.
    """
    used: dict[str, int] = {}
    wraps: dict[str, int] = {}
    try:
        zones = files.listdir(DIRECTORY)
    except KernelError:
        return used, wraps
    for zone in zones:
        if files.read_text(f"{DIRECTORY}/{zone}/name", "").strip().startswith("package-"):
            energy = files.read_int(f"{DIRECTORY}/{zone}/energy_uj", -1)
            if energy >= 0:
                used[zone] = energy
                wraps[zone] = files.read_int(f"{DIRECTORY}/{zone}/max_energy_range_uj", 0)
    return used, wraps


def watts(
    before: Mapping[str, int], after: Mapping[str, int], wraps: Mapping[str, int], seconds: float
) -> float:
    """Of all packages between two readings; 0.0 where one is missing, or what it wraps at."""
    if before.keys() != after.keys() or seconds <= 0:
        return 0.0
    used = 0
    for package, energy in after.items():
        step = energy - before[package]
        if step < 0 and not wraps[package]:
            return 0.0
        used += step if step >= 0 else step + wraps[package]
    return used / 1e6 / seconds
