"""One machine for all the tests of a kernel, and the guest that netuned's own tests share."""

import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import cache, hardware, image, lab, netdevsim, timing
from .guest_host import FIRST, IGB, Guest
from .host import LabError, LabUnavailable
from .machine import Machine

HERE = Path(__file__).resolve().parent
JOURNAL_LINES = 60
KERNELS = (
    ("every_kernel", image.SYSTEMS),
    ("newest_kernel", (image.NEWEST,)),
    ("each_release", (image.CURRENT, image.OLDEST)),
    ("oldest_release", (image.OLDEST,)),
)
"""Mark -> where such a test runs; those without run on the current one."""
SIMULATOR = "/run/lab/netdevsim.ko"
SIMULATED = "/sys/bus/netdevsim"
REPORT_S = 20.0
"""What a failed test's report may wait for: the guest may be what is broken."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("vm")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One machine after the other: pytest sorts tests by what a session's fixture is made of."""
    if "machine" in metafunc.fixturenames:
        systems = next(
            (systems for name, systems in KERNELS if metafunc.definition.get_closest_marker(name)),
            (image.CURRENT,),
        )
        metafunc.parametrize(
            "machine", systems, ids=lambda system: system.name, indirect=True, scope="session"
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have all tests of a system go to one worker: it boots that one once, while another one tests.

    Of one test most is waiting for one CPU of the guest, so two guests keep two CPUs at work.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has none

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            parameters = nodeid.partition("[")[2]
            names = [system.name for system in image.SYSTEMS if parameters.startswith(system.name)]
            return max(names, key=len, default="")  # one is the beginning of another

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """One that is marked ``alone`` waits until no other runs, on any guest, and none is booted.

    Who waits for that holds the gate, so that no other begins meanwhile.
    """
    alone = item.get_closest_marker("alone") is not None
    place = cache.folder()
    with (place / "gate").open("w") as gate, (place / "tests").open("w") as tests:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(tests, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["vm durations"] = timing.durations


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker has measured is shown by the process that shows all."""
    timing.durations += map(tuple, getattr(node, "workeroutput", {}).get("vm durations", ()))


@pytest.fixture(scope="session")
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A booted machine with this checkout's netuned installed.

    Tests share it: each puts back what it changes. Where the lab cannot run they are skipped, with
    `NETUNED_NO_SKIP=1` they fail.
    """
    try:
        started = lab.start(tmp_path_factory.mktemp("vm") / "console.log", system=request.param)
    except LabUnavailable as error:
        reason = str(error)
    else:
        with started:
            yield started
        return
    if os.environ.get("NETUNED_NO_SKIP") == "1":
        pytest.fail(f"no lab, and NETUNED_NO_SKIP=1 allows no skip: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def guest(machine: Machine) -> Iterator[Guest]:
    made = Guest(machine)
    made.remove_profiles()
    for ifname in hardware.CARDS:
        made.sh(f"ip link set {ifname} up")
    yield made
    made.remove_profiles()


@pytest.fixture(scope="module")
def igb(guest: Guest) -> Guest:
    """Both igb cards in force."""
    guest.drop("igb", IGB)
    for ifname in hardware.IGB:
        guest.wait_state(ifname, "in-sync")
    return guest


@pytest.fixture
def wanted(igb: Guest) -> dict[str, object]:
    """The state to come back to, and the certainty that a test starts in it, and in no other."""
    igb.wait_state(FIRST, "in-sync")
    while (state := igb.state(FIRST)) != igb.state(FIRST):
        igb.wait_state(FIRST, "in-sync")
    return state


@pytest.fixture(scope="module")
def simulated(machine: Machine) -> Iterator[str]:
    """The name of a card of netdevsim's with eight queues, up; with the module's tests it goes."""
    machine.put(SIMULATOR, netdevsim.module(machine.disk).read_bytes())
    made = machine.run(
        f"""set -e
        modprobe -a $(modinfo -F depends {SIMULATOR} | tr , ' ')
        insmod {SIMULATOR}
        echo "1 1 {hardware.QUEUES}" >{SIMULATED}/new_device
        udevadm settle
        cd {SIMULATED}/devices/netdevsim1/net
        ip link set * up
        echo *"""
    )
    yield made.stdout.strip()
    machine.run(f"echo 1 >{SIMULATED}/del_device && rmmod netdevsim && rm {SIMULATOR}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fixtures = item.funcargs if isinstance(item, pytest.Function) else {}
    guest = fixtures.get("machine")
    if report.failed and isinstance(guest, Machine):
        report.sections.append(("netuned's journal", _journal(guest)))
        report.sections.append(("console", guest.console_tail()))
    return report


def _journal(guest: Machine) -> str:
    command = f"journalctl --no-pager --output=short-monotonic --lines={JOURNAL_LINES} -u netuned"
    try:
        return guest.run(command, REPORT_S, check=False).stdout
    except LabError as error:
        return f"not to be had: {error}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if timing.durations:
        terminalreporter.section("VM lab")
        for step, seconds in timing.durations:
            terminalreporter.line(f"{seconds:7.1f} s  {step}")
