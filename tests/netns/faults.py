"""Faults on purpose: the n-th call of the kernel or the disk fails, or the daemon is killed there.

One veth card in a network namespace, the real kernel, the whole loop without D-Bus. Each case
brings a profile into force (or removes it) with one fault, looks at what is left, lets the loop
look again, and ends with the card exactly as it was before.

``python -m tests.netns.faults`` runs all in a namespace it makes; ``run()`` gives the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import netuned.statefile
from netuned.errors import KernelError, NetunedError, UnsupportedError
from netuned.hardware.nic import CLASS_NET, Nic, read_nic
from netuned.kernel import Kernel
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.files import Files, Kept
from netuned.kernel.netlink import NetlinkSocket
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.loop import Options, Reconciler
from netuned.reconcile.requests import Requests
from netuned.status import IN_SYNC, UNSUPPORTED, NicStatus
from netuned.tunables import qdisc
from netuned.values import Qdisc, describe
from tests.netns.lab import Lab
from tests.netns.listener import Silent

CARD = "lan0"
QUEUES = 3
PROFILE = f"""\
match: [{{kind: veth, name: {CARD}}}]
channels: {{combined: max}}
rps: {{cpus: 1}}
xps: {{cpus: auto}}
qdisc: {{kind: pfifo, limit: 500}}
"""

GONE = -1
"""In place of an errno: the call says that there is nothing."""
SHORT = -2
"""In place of an errno: the call returns half of what it read."""

KERNEL_WRITE = (errno.EPERM, errno.EIO, errno.EBUSY, errno.EINVAL, errno.ENODEV, errno.ENOMEM)
ERRORS: Mapping[str, Sequence[int]] = {
    "read": (errno.EIO, errno.ENODEV, errno.ENOMEM, SHORT),
    "read elsewhere": (errno.EIO,),
    "list": (errno.EIO, errno.ENOENT, errno.ENOMEM),
    "look": (GONE,),
    "write": (*KERNEL_WRITE, errno.EACCES, errno.ENOENT),
    "ioctl": (*KERNEL_WRITE, errno.EOPNOTSUPP),
    "netlink": (*KERNEL_WRITE, errno.EOPNOTSUPP, errno.ENOBUFS, errno.ETIMEDOUT),
    "disk": (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT),
}
"""What each kind of call can give."""

ELSEWHERE = 6
"""Of the many files on CPUs that are read at the start, one in so many fails."""

T = TypeVar("T")
State = dict[str, str]
"""``tunable key`` -> value, of all that the kernel shows."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The ``at``-th call ends with ``error``; if ``done``, after it did its work.

    ``on``: so do all after it, until the fault is lifted.
    """

    at: int
    error: int
    done: bool = False
    on: bool = False


class Calls:
    """Counts calls, names them, and makes one of them fail or kill."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self.kill_at = -1
        self.steps: list[str] = []
        """Before and after each call that changes something."""

    def restart(self, fault: Fault | None = None) -> None:
        """Count anew."""
        self.names, self.steps, self.fault = [], [], fault

    def make(
        self, kind: str, name: str, work: Callable[[], T], fail: Callable[[int], T], writes: bool
    ) -> T:
        """Do the work, or not. ``fail`` raises or gives what a failed call gives."""
        fault, number = self.fault, len(self.names)
        self.names.append((kind, name))
        if fault is None or not (number == fault.at or (fault.on and number > fault.at)):
            if not writes:
                return work()
            self._step(f"before {name}")
            done = work()
            self._step(f"after {name}")
            return done
        if fault.done:
            work()
        return fail(fault.error)

    def _step(self, name: str) -> None:
        if len(self.steps) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps.append(name)


class FaultyFiles(Files):
    """The kernel's files, which may fail."""

    def __init__(self, calls: Calls, wrote: Callable[[], None]) -> None:
        super().__init__("/", wrote)
        self._calls = calls

    def read(self, path: str) -> bytes:
        return self._read(path, lambda: super(FaultyFiles, self).read(path))

    def read_long(self, path: str, limit: int) -> bytes:
        return self._read(path, lambda: super(FaultyFiles, self).read_long(path, limit))

    def _read(self, path: str, work: Callable[[], bytes]) -> bytes:
        def fail(error: int) -> bytes:
            if error == SHORT:
                content = work()
                return content[: len(content) // 2]
            raise KernelError("read", path, error)

        kind = "read" if path.startswith(CLASS_NET) else "read elsewhere"
        return self._calls.make(kind, path, work, fail, False)

    def write(self, path: str, data: bytes) -> None:
        work = super().write
        fail = _raise("write", path)
        self._calls.make("write", path, lambda: work(path, data), fail, True)

    def listdir(self, path: str) -> list[str]:
        work = super().listdir
        return self._calls.make("list", path, lambda: work(path), _raise("list", path), False)

    def exists(self, path: str) -> bool:
        work = super().exists
        return self._calls.make("look", path, lambda: work(path), lambda _: False, False)

    def readlink(self, path: str, default: str = "") -> str:
        work = super().readlink
        return self._calls.make("look", path, lambda: work(path, default), lambda _: default, False)

    def mode(self, path: str) -> int:
        work = super().mode
        return self._calls.make("look", path, lambda: work(path), lambda _: 0, False)

    def inode(self, path: str) -> int:
        work = super().inode
        return self._calls.make("look", path, lambda: work(path), lambda _: 0, False)

    def keep(self, paths: tuple[str, ...]) -> Kept:
        work = super().keep
        kept = self._calls.make(
            "list", paths[0], lambda: work(paths), _raise("open", paths[0]), False
        )
        return FaultyKept(self._calls, kept, paths[0])


class FaultyKept:
    """A group of kept files, whose reading may fail."""

    def __init__(self, calls: Calls, kept: Kept, name: str) -> None:
        self._calls = calls
        self._kept = kept
        self._name = name
        self.close = kept.close

    def contents(self) -> list[bytes]:
        def fail(error: int) -> list[bytes]:
            if error == SHORT:
                return [content[: len(content) // 2] for content in self._kept.contents()]
            raise KernelError("read", self._name, error)

        return self._calls.make("read", self._name, self._kept.contents, fail, False)


class FaultyKernel(Kernel):
    """This host's kernel, any call of which may fail."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.files = FaultyFiles(calls, self._wrote)
        self._calls = calls
        assert isinstance(self.ethtool, Ethtool)
        self._guard_ioctl(self.ethtool)
        for client in (self.rtnl, self.ethtool_netlink, self.netdev):
            self._guard_netlink(client._socket)  # type: ignore[union-attr]  # all have one

    def _guard_ioctl(self, ethtool: Ethtool) -> None:
        ask = ethtool._call

        def guarded(ifindex: int, what: str, request: Any, *, write: bool = False) -> Any:
            def fail(error: int) -> Any:
                if error == errno.EOPNOTSUPP:
                    raise UnsupportedError(what, "the driver has no such operation")
                raise KernelError("set" if write else "get", what, error)

            work: Callable[[], Any] = lambda: ask(ifindex, what, request, write=write)  # noqa: E731
            return self._calls.make("ioctl", what, work, fail, write)

        ethtool._call = guarded  # type: ignore[method-assign]

    def _guard_netlink(self, opened: NetlinkSocket) -> None:
        ask = opened.exchange

        def guarded(message: bytes, read: Any, operation: str, target: str) -> Any:
            writes = operation in ("replace", "delete", "set")
            work: Callable[[], Any] = lambda: ask(message, read, operation, target)  # noqa: E731
            fail = _raise(operation, target, "on purpose")
            return self._calls.make("netlink", f"{operation} {target}", work, fail, writes)

        opened.exchange = guarded  # type: ignore[method-assign]


class FaultyDisk:
    """What the state files' module calls of ``os``, and ``open``: any of it may fail."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        work = getattr(os, name)
        if name not in ("fsync", "replace", "open"):
            return work
        return lambda *given: self._make(name, lambda: work(*given))

    def open_file(self, path: Path, mode: str = "r") -> Any:
        if mode == "rb":
            return path.open(mode)
        opened = self._make("draft", lambda: path.open(mode))
        write = opened.write
        proxy = SimpleNamespace(flush=opened.flush, fileno=opened.fileno)
        proxy.write = lambda data: self._make("write", lambda: write(data))
        return _Closing(opened, proxy)

    def _make(self, name: str, work: Callable[[], T]) -> T:
        def fail(error: int) -> T:
            raise OSError(error, os.strerror(error))

        return self._calls.make("disk", f"disk {name}", work, fail, True)


class _Closing:
    """An open file, shown through what may fail."""

    def __init__(self, opened: Any, shown: Any) -> None:
        self._opened, self._shown = opened, shown

    def __enter__(self) -> Any:
        return self._shown

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _raise(operation: str, target: str, extack: str = "") -> Callable[[int], Any]:
    def fail(error: int) -> Any:
        raise KernelError(operation, target, error, extack)

    return fail


@contextlib.contextmanager
def faulty_disk(calls: Calls) -> Iterator[None]:
    """Any write of a state file may fail."""
    module: Any = netuned.statefile
    disk, real = FaultyDisk(calls), module.os
    module.os, module.open = disk, disk.open_file
    try:
        yield
    finally:
        module.os = real
        del module.open


class Heard(logging.Handler):
    """What was logged, and what must never be: a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.warnings: list[str] = []
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.warnings.append(record.getMessage())
        if record.exc_info and record.exc_info[0]:
            self.tracebacks.append(logging.Formatter().format(record))


@dataclass(slots=True)
class Figures:
    """How many faults or kills there were, and what was wrong after which."""

    faults: int = 0
    kills: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        bad = len(self.failed)
        parts = []
        if self.faults:
            parts.append(f"faults injected {self.faults}, survived {self.faults - bad}")
        if self.kills:
            parts.append(f"kills {self.kills}, clean recoveries {self.kills - bad}")
        return f"{'; '.join(parts)} ({self.seconds:.1f} s)"


class Wrong(Exception):
    """A promise that was not kept; the message says which."""


class Bench:
    """The card, its state before, and the loop's directories; in the present network namespace."""

    def __init__(self, directory: Path) -> None:
        self.kernel = Kernel()
        self.calls = Calls()
        self.heard = Heard()
        self.profiles = directory / "profiles.d"
        self.profiles.mkdir()
        state, runtime = directory / "state", directory / "run"
        settings = str(directory / "netuned.yaml")
        self.options = Options((str(self.profiles),), state, runtime, settings)
        self.boot_id = self.kernel.files.read_text("/proc/sys/kernel/random/boot_id")
        self.ifindex = next(i for i, link in self.kernel.rtnl.links().items() if link.name == CARD)
        self.own_qdiscs = False
        self.before: State = {}
        self.wanted: State = {}

    # The card

    def nic(self) -> Nic:
        return read_nic(self.kernel, self.ifindex, CARD)

    def state(self) -> State:
        """All that netuned could set of the card, as the kernel shows it."""
        base, files = f"{CLASS_NET}/{CARD}/queues", self.kernel.files
        channels = self.kernel.ethtool.channels(self.ifindex)
        state = {"channels": f"{channels.rx} {channels.tx}"}
        for queue in files.listdir(base):
            name = "rps" if queue.startswith("rx") else "xps"
            if name == "rps" or channels.tx > 1:
                state[f"{name} {queue}"] = files.read_text(f"{base}/{queue}/{name}_cpus")
        entries = self.kernel.rtnl.qdiscs((self.ifindex,)).get(self.ifindex, ())
        for key, value in qdisc._state(entries, channels.tx).items():
            state[f"qdisc {key}"] = describe(value)
        return state

    def prepare(self, *, own_qdiscs: bool) -> None:
        """Bring the card to a state that somebody chose before netuned came."""
        self.own_qdiscs = own_qdiscs
        with contextlib.suppress(KernelError):
            self.kernel.rtnl.delete_qdisc(self.ifindex)
        self.kernel.ethtool.set_channels(self.ifindex, rx=2, tx=2)
        for queue, mask in (
            ("rx-0/rps", b"0"),
            ("rx-1/rps", b"1"),
            ("tx-0/xps", b"2"),
            ("tx-1/xps", b"0"),
        ):
            self.kernel.files.write(f"{CLASS_NET}/{CARD}/queues/{queue}_cpus", mask)
        if own_qdiscs:
            self.kernel.rtnl.replace_qdisc(self.ifindex, qdisc.ROOT_PARENT, 9 << 16, "mq", {})
            for leaf in (1, 2):
                parent = 9 << 16 | leaf
                self.kernel.rtnl.replace_qdisc(self.ifindex, parent, 0, "pfifo", {"limit": 33})
        self.before = self.state()

    # The loop

    def drop(self) -> None:
        """Drop the profile."""
        path = self.profiles / "edge.yaml"
        path.write_text(PROFILE)
        path.chmod(0o644)

    def remove(self) -> None:
        (self.profiles / "edge.yaml").unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def loop(self) -> Any:
        """A loop whose calls may fail."""
        made = Reconciler(FaultyKernel(self.calls), self.options, Silent())
        try:
            yield made
        finally:
            await made.close()

    async def start(self, loop: Reconciler) -> None:
        """As the daemon does: an error at the start is told and tried again."""
        try:
            await loop.start()
        except NetunedError as error:
            self.heard.warnings.append(str(error))

    async def again(self, loop: Reconciler) -> None:
        """All that the daemon's timers and events would have it do."""
        if not loop.status().manager.profiles:
            await loop.reload()
        loop.touch_everything()
        await self.quiet(loop)
        await Requests(loop).reconcile("")
        await self.quiet(loop)

    async def quiet(self, loop: Reconciler) -> None:
        """Until nothing is under way."""
        deadline = time.monotonic() + 5
        while loop.work._tasks:
            if time.monotonic() > deadline:
                raise Wrong("the loop does not come to rest")
            await asyncio.sleep(0.0005)

    # Promises

    def check_named(self, allowed: Sequence[State]) -> None:
        """What is not as before is as wanted, and the disk says what it was before."""
        now = self.state()
        saved = Baseline(self.options.state_directory / "baseline.json", self.boot_id)
        saved.load()
        record = saved._of(self.nic()).settings
        for setting, value in now.items():
            if value == self.before.get(setting):
                continue
            if setting not in self.before and (value == "0" or self._kernels(setting)):
                continue  # it came with a queue or a root, and is as the kernel makes it
            if all(value != state.get(setting) for state in allowed):
                raise Wrong(f"{setting} is {value}, which nobody names")
            tunable, _, key = setting.partition(" ")
            if key not in record.get(tunable, {}):
                raise Wrong(f"{setting} is {value}, and the baseline does not know it")
            kept = record[tunable][key]
            was = describe(kept) if tunable == "qdisc" else ""
            if was and setting in self.before and was != self.before[setting]:
                raise Wrong(f"{setting}: the baseline has {was}, it was {self.before[setting]}")

    def _kernels(self, setting: str) -> bool:
        """Whether a leaf is what the kernel puts below a new root."""
        if not setting.startswith("qdisc tx-"):
            return False
        entries = self.kernel.rtnl.qdiscs((self.ifindex,)).get(self.ifindex, ())
        found = qdisc._state(entries, QUEUES)[setting.removeprefix("qdisc ")]
        return isinstance(found, Qdisc) and found.kind in ("pfifo_fast", "noqueue", "noop")

    def check_told(self, loop: Reconciler, right: State) -> None:
        """Who calls a card in sync whose settings are not as they should be, lies."""
        nic = next((nic for nic in loop.status().nics if nic.name == CARD), None)
        if self.state() == right:
            return
        if nic is not None and nic.state == IN_SYNC and not _excused(nic):
            raise Wrong(f"called {nic.state}: {_difference(self.state(), right)}")
        silent = nic and not nic.last_error and not self.heard.warnings and not _excused(nic)
        if nic and silent and nic.state not in ("applying", "unmanaged"):
            raise Wrong(f"{nic.state}, and nothing says why")

    def check(self, right: State, when: str) -> None:
        found = self.state()
        if found != right:
            raise Wrong(f"{when}: {_difference(found, right)}")
        if self.heard.tracebacks:
            raise Wrong(self.heard.tracebacks[0])

    def check_forgotten(self) -> None:
        """What was put back needs no record."""
        saved = Baseline(self.options.state_directory / "baseline.json", self.boot_id)
        saved.load()
        if record := saved.of(self.nic()):
            raise Wrong(f"all is as before, and the baseline still has {sorted(record)}")

    # Cases

    async def applying(self, fault: Fault | None) -> None:
        """A profile comes into force with a fault, is looked at again, and goes."""
        self.drop()
        async with self.loop() as loop:
            self.calls.restart(fault)
            await self.start(loop)
            await self.quiet(loop)
            self.calls.fault = None
            made = list(self.calls.names)
            if self.wanted:
                self.check_named((self.wanted,))
                self.check_told(loop, self.wanted)
            await self.again(loop)
            self.wanted = self.wanted or self.state()
            self.check(self.wanted, "after looking again")
            self.remove()
            await loop.reload()
            await self.quiet(loop)
            self.check(self.before, "without the profile")
            self.check_forgotten()
        self.calls.names = made

    async def restoring(self, fault: Fault | None) -> None:
        """A profile goes with a fault, and the loop looks again."""
        self.drop()
        async with self.loop() as loop:
            self.calls.restart()
            await loop.start()
            self.check(self.wanted, "before the fault")
            self.remove()
            self.calls.restart(fault)
            with contextlib.suppress(NetunedError):
                await loop.reload()
            await self.quiet(loop)
            self.calls.fault = None
            made = list(self.calls.names)
            self.check_named((self.wanted,))
            await self.again(loop)
            self.check(self.before, "after looking again")
            self.check_forgotten()
        self.calls.names = made

    def attempt(self, case: Callable[[Fault | None], Any], fault: Fault | None) -> str:
        """Run one case. Returns what was wrong."""
        self.heard.warnings.clear()
        self.heard.tracebacks.clear()
        try:
            asyncio.run(case(fault))
        except Wrong as wrong:
            return str(wrong)
        except Exception as error:  # noqa: BLE001  # any other is what is looked for
            return f"{type(error).__name__}: {error}"
        return ""

    def repair(self) -> None:
        """After a case that went wrong: as before, by a loop without faults."""
        self.remove()
        self.calls.restart()

        async def work() -> None:
            async with self.loop() as loop:
                await loop.start()
                await self.again(loop)

        with contextlib.suppress(Exception):
            asyncio.run(work())
        if self.state() != self.before:
            (self.options.state_directory / "baseline.json").unlink(missing_ok=True)
            self.prepare(own_qdiscs=self.own_qdiscs)

    # Kills

    def kill_at(self, step: int, case: Callable[[], Any]) -> bool:
        """Kill a child of this process at a step of ``case``; False when it has fewer steps."""
        child = os.fork()
        if not child:
            self.calls.kill_at = step
            try:
                asyncio.run(case())
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)

    async def apply_only(self) -> None:
        async with self.loop() as loop:
            self.calls.restart()
            await loop.start()
            await self.quiet(loop)

    def recover(self, *, profile: bool) -> str:
        """Start again after a kill: into force and back, or straight back. Says what is wrong."""

        async def work() -> None:
            async with self.loop() as loop:
                self.calls.restart()
                await loop.start()
                await self.quiet(loop)
                if profile:
                    self.check(self.wanted, "started again")
                    self.remove()
                    await loop.reload()
                    await self.quiet(loop)
                self.check(self.before, "without the profile")
                self.check_forgotten()

        return self.attempt(lambda _: work(), None)


def _excused(nic: NicStatus) -> bool:
    return any(setting.state == UNSUPPORTED for setting in nic.settings)


def _difference(found: State, right: State) -> str:
    keys = sorted(found.keys() | right.keys())
    return ", ".join(
        f"{key} is {found.get(key, 'absent')}, not {right.get(key, 'there')}"
        for key in keys
        if found.get(key) != right.get(key)
    )


@contextlib.contextmanager
def bench(directory: Path, *, own_qdiscs: bool) -> Iterator[Bench]:
    """A card of the present namespace in its state before, and what the loop needs."""
    made = Bench(directory)
    logger = logging.getLogger("netuned")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.addHandler(made.heard)
    logger.propagate = False
    try:
        made.prepare(own_qdiscs=own_qdiscs)
        with faulty_disk(made.calls):
            yield made
    finally:
        logger.removeHandler(made.heard)
        logger.setLevel(level)
        logger.propagate = propagate


def faults_of(names: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    """Every call with every error it can give; what writes, also after it has written."""
    for number, (kind, name) in enumerate(names):
        if kind == "read elsewhere" and number % ELSEWHERE:
            continue
        writes = kind == "write" or name.startswith(("replace", "delete", "set", "disk"))
        for error in ERRORS[kind]:
            yield Fault(number, error)
        if writes:
            yield Fault(number, errno.EIO, done=True)
            yield Fault(number, errno.EBUSY, on=True)


def inject(directory: Path, *, own_qdiscs: bool, stride: int = 1, offset: int = 0) -> Figures:
    """Make every call fail once, as a profile comes and as it goes; every ``stride``-th of them."""
    figures = Figures()
    start = time.monotonic()
    with bench(directory, own_qdiscs=own_qdiscs) as made:
        for case in (made.applying, made.restoring):
            if wrong := made.attempt(case, None):
                figures.failed.append(f"{case.__name__} without a fault: {wrong}")
                break
            names = list(made.calls.names)
            for fault in list(faults_of(names))[offset::stride]:
                figures.faults += 1
                if wrong := made.attempt(case, fault):
                    figures.failed.append(f"{case.__name__} {names[fault.at]} {fault}: {wrong}")
                    made.repair()
    figures.seconds = time.monotonic() - start
    return figures


def kill(directory: Path, *, own_qdiscs: bool, stride: int = 1) -> Figures:
    """Kill at each (``stride``-th) step of a transaction; start again with the profile, without."""
    figures = Figures()
    start = time.monotonic()
    with bench(directory, own_qdiscs=own_qdiscs) as made:
        if wrong := made.attempt(made.applying, None):
            figures.failed.append(f"without a kill: {wrong}")
            return figures
        for going in (False, True):
            for profile in (True, False):
                for step in range(0, 1000, stride):
                    made.drop()
                    if going:
                        asyncio.run(made.apply_only())
                        made.remove()
                    if not made.kill_at(step, made.apply_only):
                        made.repair()
                        break
                    figures.kills += 1
                    if profile:
                        made.drop()
                    else:
                        made.remove()
                    if wrong := made.recover(profile=profile):
                        figures.failed.append(f"{going=} {profile=} {step=}: {wrong}")
                        made.repair()
    figures.seconds = time.monotonic() - start
    return figures


def run() -> Figures:
    """All of it, in a namespace of its own: the figures of ``make soak``."""
    total = Figures()
    for what in ("inject", "kill"):
        for own_qdiscs in ("", "own"):
            with Lab() as lab:
                lab.add_pair(CARD, "peer0", queues=QUEUES)
                printed = lab.run(
                    sys.executable, "-m", "tests.netns.faults", what, own_qdiscs
                ).stdout
            part = Figures(**json.loads(printed))
            total.faults += part.faults
            total.kills += part.kills
            total.seconds += part.seconds
            total.failed += part.failed
    return total


def main() -> None:
    """Inside a namespace: do one part and print it; else all."""
    if len(sys.argv) < 2:
        figures = run()
        print(figures, *figures.failed, sep="\n")
        sys.exit(bool(figures.failed))
    work = {"inject": inject, "kill": kill}[sys.argv[1]]
    with tempfile.TemporaryDirectory(prefix="netuned-faults-") as directory:
        Path(directory).chmod(0o755)
        print(json.dumps(asdict(work(Path(directory), own_qdiscs=bool(sys.argv[2])))))


if __name__ == "__main__":
    main()
