"""The kernel's simulated cards, which Debian's kernels lack: the module, built for a machine's own.

netdevsim (drivers/net/netdevsim) keeps rings, coalescing and channels as numbers, and from 6.14 on
header-data split; the script gives it flow rules and RSS contexts besides: settings that no
emulated card has.
Debian brings the kernel's source and what to build a module with as packages; on two idle CPUs they
are there and it is built within a minute, once per version of the kernel.
"""

import shutil
from pathlib import Path

from . import cache, host, image
from .timing import timed

SCRIPT = Path(__file__).with_suffix(".sh")


def module(disk: image.Disk) -> Path:
    """The module for the disk's kernel; from the cache if it was built for that version.

    Raises:
        LabError: it could not be built, as where the archive has gone on to another version.
    """
    root = disk.kernel.parent.parent
    release = disk.kernel.name.removeprefix("vmlinuz-")
    query = ("dpkg-query", "--show", "--showformat=${Version}", f"linux-image-{release}")
    version = host.run("chroot", root, *query)
    key = cache.digest(release.encode(), version.encode(), SCRIPT.read_bytes())

    def build(work: Path) -> None:
        host.run(
            *("unshare", "--mount", "--propagation", "private", "--"),
            *(SCRIPT, root, work, release, version),
            log=work / "build.log",
        )
        for leftover in ("overlay", "root", "upper"):
            shutil.rmtree(work / leftover)

    with timed(f"netdevsim of {disk.system.name}"):
        return cache.entry(f"netdevsim-{key}", build) / "netdevsim.ko"
