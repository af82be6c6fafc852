"""``netunedctl snapshot``: writes what netuned reads of this host into one file."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

from netuned.cli.arguments import duration_s
from netuned.cli.text import Screen, print_json

if TYPE_CHECKING:
    from netuned.counters.sample import Sample
    from netuned.kernel import Kernel

DEFAULT = "netuned-snapshot.tar.xz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default=DEFAULT,
        help=f"where to; compressed if its name ends in .xz (default: {DEFAULT})",
    )
    parser.add_argument("--macs", action="store_true", help="include MAC addresses")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=duration_s,
        help="take two samples of what the host counts, so long apart, for doctor --snapshot",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from netuned.hardware.namespace import check_namespace
    from netuned.kernel import Kernel
    from netuned.snapshots import snapshot

    kernel = Kernel()
    check_namespace(kernel)
    samples = _samples(kernel, arguments.seconds) if arguments.seconds else ()
    taken = snapshot.take(kernel, macs=arguments.macs, counted=samples)
    snapshot.write(taken, arguments.file, force=arguments.force)
    unreadable = {path: os.strerror(number) for path, number in taken.unreadable.items()}
    if arguments.json:
        print_json(
            {
                "path": arguments.file,
                "bytes": os.stat(arguments.file).st_size,
                "left_out": [{"what": w, "why": why} for w, why in taken.left_out.items()],
                "unreadable": [{"path": p, "why": why} for p, why in unreadable.items()],
                "counted_s": samples[1].at - samples[0].at if samples else 0,
            }
        )
        return 0
    screen = Screen.of_stdout()
    print(screen.sentence(f"Wrote {arguments.file}."), end="")
    for what, why in taken.left_out.items():
        print(screen.sentence(f"Left out: {what} ({why})"), end="")
    for path, why in unreadable.items():
        print(screen.sentence(f"Could not be read: {path} ({why})"), end="")
    return 0


def _samples(kernel: Kernel, seconds: int) -> tuple[Sample, ...]:
    """Two, so long apart. Raises: KernelError."""
    from netuned.counters.take import Taker
    from netuned.hardware.host import read_host

    nics = read_host(kernel).nics
    taker = Taker(kernel)
    before = taker.take(nics)
    time.sleep(seconds)
    return before, taker.take(nics)
