"""`python -m tests.vm shell`: the lab's machine by hand."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from . import hardware, host, image, timing
from .machine import ACCEL


def shell(checkout: Path, accel: str) -> int:
    """Boot with root's shell on this terminal; QEMU's status, or 0 after a power-off."""
    host.ensure_packages()
    disk = image.disk(checkout)
    command_line = hardware.kernel_command_line()
    print("Ctrl-A X ends the machine, Ctrl-A C talks to QEMU; `poweroff` works, too.", flush=True)
    with tempfile.TemporaryDirectory(prefix="netuned-lab-") as runtime:
        argv = hardware.qemu(disk, Path(runtime), "mon:stdio", command_line, accel)
        return subprocess.run(
            hardware.in_own_network(argv), env=host.environment(), check=False
        ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("command", choices=["shell", "image"], help="a shell, or just its disk")
    parser.add_argument("--checkout", type=Path, default=image.CHECKOUT, help="what to install")
    parser.add_argument("--accel", default=ACCEL, help="QEMU's accelerator (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "shell":
            return shell(arguments.checkout, arguments.accel)
        host.ensure_packages()
        print(image.disk(arguments.checkout).image)
    except (host.LabError, host.LabUnavailable) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    for step, seconds in timing.durations:
        print(f"{seconds:7.1f} s  {step}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
