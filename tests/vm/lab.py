"""The lab put together: packages, disk, machine."""

from pathlib import Path

from . import host, image
from .machine import ACCEL, Machine
from .timing import timed


def start(console: Path, checkout: Path = image.CHECKOUT, accel: str = ACCEL) -> Machine:
    """Boot a machine that has the checkout's netuned installed; ready for commands.

    Raises:
        LabUnavailable: this machine cannot run the lab.
        LabError: something broke on the way.
    """
    with timed("packages"):
        host.ensure_packages()
    disk = image.disk(checkout)
    machine = Machine(disk, console, accel=accel)
    try:
        with timed("boot to the agent's answer"):
            machine.wait_for_agent()
        with timed("rest of the boot"):
            machine.wait_for_boot()
    except BaseException:
        machine.close()
        raise
    return machine
