"""netuned's package beside TuneD's: how large, and how long dpkg takes with it.

Into a throwaway Debian that has what both depend on; in namespaces of its own, where no service is
started. Its changes are gone with them.
"""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

from bench import roots
from bench.table import Row
from tests import packages
from tests.vm import host

NEEDED = ("python3-jeepney", "python3-psutil", "python3-rich", "python3-systemd", "python3-yaml")
"""What netuned's package depends on."""
PACKAGES = ("tuned", *NEEDED)
HOOKS = (
    'chroot "$1" sh -c "cd /root && apt-get download tuned"',
    'chroot "$1" dpkg --purge tuned',
)
"""TuneD's package as a file, and what it depends on without it."""
INSIDE = """
set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=$0,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount --bind /dev /mnt/root/dev
[ $# = 1 ] || cp $2 /mnt/root/root/
export DEBIAN_FRONTEND=noninteractive
began=$(date +%s%N)
chroot /mnt/root sh -c "dpkg --install /root/$1_*.deb" >/dev/null 2>&1
echo $(($(date +%s%N) - began))
"""
"""The shell's: the root, the package's name, and its file where it is not in the root."""


def measure(rounds: int) -> list[Row]:
    """Everything in one run; says so where it cannot run."""
    try:
        host.check_rights()
        host.ensure_packages()
        root = roots.root("installs", PACKAGES, *HOOKS)
        (ours,) = packages.built().glob("netuned_*.deb")
    except (host.LabError, host.LabUnavailable, AssertionError) as error:
        return [
            Row("packages", 0, "", None, f"cannot run here: {' '.join(str(error).split())[-200:]}")
        ]
    (theirs,) = (root / "root").glob("tuned_*.deb")
    took: dict[str, list[float]] = {"netuned": [], "tuned": []}
    for _ in range(rounds):
        took["netuned"].append(_installed_s(root, "netuned", str(ours)))
        took["tuned"].append(_installed_s(root, "tuned"))
    own, other = (statistics.median(took[name]) for name in ("netuned", "tuned"))
    spread = f"{own:.1f} s ({min(took['netuned']):.1f} to {max(took['netuned']):.1f}) against "
    spread += f"{other:.1f} ({min(took['tuned']):.1f} to {max(took['tuned']):.1f})"
    sizes = [path.stat().st_size / 1e6 for path in (ours, theirs)]
    unpacked = [_unpacked_mb(path) for path in (ours, theirs)]
    return [
        Row("package ÷ TuneD's", sizes[0] / sizes[1], "×", None,
            f"{sizes[0]:.2f} MB against {sizes[1]:.2f}"),
        Row("  unpacked", unpacked[0] / unpacked[1], "×", None,
            f"{unpacked[0]:.1f} MB against {unpacked[1]:.1f}; two Pythons' extension modules"),
        Row("  dpkg --install", own / other, "×", None, spread),
    ]  # fmt: skip


def _installed_s(root: Path, name: str, *file: str) -> float:
    words = ["unshare", "--mount", "--net", "sh", "-c", INSIDE, str(root), name, *file]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) / 1e9


def _unpacked_mb(deb: Path) -> float:
    asked = ["dpkg-deb", "--field", str(deb), "Installed-Size"]
    return int(subprocess.run(asked, capture_output=True, check=True).stdout) * 1024 / 1e6
