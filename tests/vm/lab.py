"""The lab put together: packages, disk, machine. `python -m tests.vm.lab shell` is it by hand."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from . import cache, hardware, host, image, timing
from .host import LabError, LabUnavailable
from .machine import ACCEL, Machine
from .timing import timed

ATTEMPTS = 3
BOOT_S = 300.0
"""Either half of a boot is over in 30 s on two idle CPUs; others may be at work there, and a second
guest is."""
LINKS_S = 60.0
EVERY_CARD_UP = "! grep -Lx up /sys/class/net/en*/operstate | grep -q ."


def start(
    console: Path,
    checkout: Path = image.CHECKOUT,
    *,
    accel: str = ACCEL,
    system: image.System = image.CURRENT,
) -> Machine:
    """Boot a machine that has the checkout's netuned installed: services started, cards up.

    Raises:
        LabUnavailable: this machine cannot run the lab.
        LabError: something broke on the way.
    """
    with timed("packages"):
        host.ensure_packages()
    machine = _booted(image.disk(checkout, system), console, accel, ATTEMPTS)
    try:
        with timed("cards up"):
            machine.wait_until(EVERY_CARD_UP, LINKS_S, "every card is up")
    except BaseException:
        machine.close()
        raise
    return machine


def _booted(disk: image.Disk, console: Path, accel: str, attempts: int) -> Machine:
    """A boot in which QEMU dies (`hardware` says when) or a CPU's timer is lost is made again."""
    machine = Machine(disk, console, accel=accel)
    try:
        with timed("boot to the agent's answer"):
            machine.wait_for_agent(BOOT_S)
        with timed("rest of the boot"):
            machine.wait_for_boot(BOOT_S)
    except LabError as error:
        machine.close()
        if attempts == 1:
            raise
        print(f"lab: another attempt, for this boot failed: {error}", file=sys.stderr)
        return _booted(disk, console, accel, attempts - 1)
    except BaseException:
        machine.close()
        raise
    return machine


def shell(checkout: Path, accel: str, system: image.System) -> int:
    """Boot with root's shell on this terminal; QEMU's exit status."""
    host.ensure_packages()
    disk = image.disk(checkout, system)
    print(f"Disks are kept in {cache.place()}; `make clean-lab` removes them.")
    print("Ctrl-A X ends the machine, Ctrl-A C talks to QEMU; `poweroff` works, too.", flush=True)
    with tempfile.TemporaryDirectory(prefix="netuned-lab-") as runtime:
        command_line = hardware.kernel_command_line()
        argv = hardware.qemu(disk, Path(runtime), "mon:stdio", command_line, accel)
        started = hardware.in_own_network(argv)
        return subprocess.run(started, env=host.environment(), check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.lab", description=__doc__)
    parser.add_argument("command", choices=["shell", "image"], help="a shell, or just its disk")
    parser.add_argument("--checkout", type=Path, default=image.CHECKOUT, help="what to install")
    parser.add_argument("--accel", default=ACCEL, help="QEMU's accelerator (%(default)s)")
    systems = {system.name: system for system in image.SYSTEMS}
    parser.add_argument(
        "--system", choices=systems, default=image.CURRENT.name, help="what to boot (%(default)s)"
    )
    arguments = parser.parse_args()
    system = systems[arguments.system]
    try:
        if arguments.command == "shell":
            return shell(arguments.checkout, arguments.accel, system)
        host.ensure_packages()
        print(image.disk(arguments.checkout, system).image)
    except (LabError, LabUnavailable) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    for step, seconds in timing.durations:
        print(f"{seconds:7.1f} s  {step}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
