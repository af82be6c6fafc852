"""The card that faults are tried on: what is asked of it, and its state as the kernel shows it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.facts import read_nic
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.hardware.opening import open_same
from netuned.kernel import Kernel
from netuned.kernel.files import KeptFiles
from netuned.kernel.once import Once
from netuned.kernel.questions import COALESCE, FEATURES, LINK_NUMBERS, NAPIS
from netuned.tunables import TUNABLES, napi, qdisc
from netuned.tunables.base import View
from netuned.values import Number, Qdisc, Setting, Value, Word, describe

CARD = "lan0"
OTHER = "lan1"
QUEUES = 3
PROFILE = f"""\
match: [{{kind: veth, name: {CARD}}}]
channels: {{combined: max}}
rps: {{cpus: 1}}
xps: {{cpus: auto}}
qdisc: {{kind: pfifo, limit: 500}}
"""

SHAPED_PROFILE = f"""\
match: [{{kind: veth, name: {CARD}}}]
channels: {{rx: 2, tx: 2}}
xps: {{by: rxqs, cpus: 0}}
qdisc: {{kind: pfifo, limit: 500}}
"""

TAP = "tap9"
TAP_PROFILE = f"""\
match: [{{kind: tun, name: {TAP}}}]
coalesce: {{rx-frames: 16}}
link: {{gro-max-size: 32K, gso-max-segs: 99, txqueuelen: 333}}
"""

IFB = "ifb9"
IFB_PROFILE = f"""\
match: [{{kind: ifb, name: {IFB}}}]
bql: {{max: 50K, min: 4K}}
"""

POLLED_PROFILE = f"""\
match: [{{kind: veth, name: {CARD}}}]
napi:
  threaded: on
  defer-hard-irqs: 2
  queues: {{1: {{gro-flush-timeout: 9us, irq-suspend-timeout: 1ms}}}}
"""

State = Mapping[Setting, Value]
"""All that the kernel shows of what netuned could set, read anew."""


class Card:
    """A veth card of the present network namespace."""

    def __init__(self, name: str = CARD, profile: str = PROFILE) -> None:
        self.name = name
        self.profile = profile
        self.kernel = Kernel()
        links = self.kernel.rtnl.links()
        self.ifindex = next(i for i, link in links.items() if link.name == name)
        self.own_qdiscs = False
        self.before: State = {}

    @classmethod
    def made(cls) -> Card:
        """As runs of faults take it."""
        return cls()

    def nic(self) -> Nic:
        return read_nic(self.kernel, self.ifindex, self.name)

    def state(self) -> State:
        """All that netuned could set of the card, as the kernel shows it."""
        nic = self.nic()
        kept = KeptFiles(open_same(self.kernel, nic))
        view = View(self.kernel, nic, kept, Once(self.kernel, many=False))
        state: dict[Setting, Value] = {}
        for tunable in TUNABLES:
            with contextlib.suppress(UnsupportedError):
                state |= {(tunable.name, key): v for key, v in tunable.read(view).items()}
        kept.close()
        return {at: v for at, v in state.items() if not self._closed_as_made(view.nic, at, v)}

    def _closed_as_made(self, nic: Nic, setting: Setting, found: Value) -> bool:
        """Whether a setting is a closed queue's leaf, and as one that the kernel does not show."""
        name, place = setting[0], qdisc.place_of(setting[1])
        if name != qdisc.NAME or not self.made_by_the_kernel(setting, found):
            return False
        return int(place.removeprefix("tx-")) >= nic.tx_queues

    def prepare(self, *, own_qdiscs: bool) -> None:
        """Bring it to a state that somebody chose before netuned came."""
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
            self.kernel.files.write(f"{CLASS_NET}/{self.name}/queues/{queue}_cpus", mask)
        if own_qdiscs:
            self.kernel.rtnl.replace_qdisc(self.ifindex, qdisc.ROOT_PARENT, 9 << 16, "mq", {})
            for leaf in (1, 2):
                parent = 9 << 16 | leaf
                self.kernel.rtnl.replace_qdisc(self.ifindex, parent, 0, "pfifo", {"limit": 33})
        self.before = self.state()

    def disturb(self) -> None:
        """Somebody sets all of it by hand, to what neither was there before nor is wanted."""
        with contextlib.suppress(KernelError):  # where it is the kernel's
            self.kernel.rtnl.delete_qdisc(self.ifindex)
        self.kernel.rtnl.replace_qdisc(
            self.ifindex, qdisc.ROOT_PARENT, 7 << 16, "pfifo", {"limit": 7}
        )
        self.kernel.ethtool.set_channels(self.ifindex, rx=QUEUES, tx=QUEUES - 1)
        for queue, mask in (("rx-0/rps", b"1"), ("tx-0/xps", b"3")):
            self.kernel.files.write(f"{CLASS_NET}/{self.name}/queues/{queue}_cpus", mask)

    def made_by_the_kernel(self, setting: Setting, found: Value) -> bool:
        """Whether a setting is a leaf that the kernel puts below a new root, or as it makes one.

        Or a NAPI instance's, as that comes with its queue, or its thread with the instance.
        """
        name, key = setting
        online = CpuSet.parse_list(self.kernel.files.read_text("/sys/devices/system/cpu/online"))
        if name == napi.NAME and found in (Number(0), Word("off"), online):
            return True
        if name != qdisc.NAME or not key.startswith("tx-"):
            return False
        if isinstance(found, Number):  # the limit of a pfifo that is attached without one
            here = open_same(self.kernel, self.nic())
            length = here.read_int("tx_queue_len", 0)
            return key.endswith(" pfifo limit") and found.value == length
        return isinstance(found, Qdisc) and found.kind in ("pfifo_fast", "noqueue", "noop")


class Tap(Card):
    """A tap: of its coalescing the kernel has rx-frames, and what any link has."""

    @classmethod
    def made(cls) -> Tap:
        return cls(TAP, TAP_PROFILE)

    def prepare(self, *, own_qdiscs: bool) -> None:
        self.own_qdiscs = own_qdiscs
        self.kernel.set(COALESCE, self.ifindex, {"rx-frames": 5})
        twins = {"gro-max-size": 60000, "gro-ipv4-max-size": 70000}
        self.kernel.set(LINK_NUMBERS, self.ifindex, {**twins, "txqueuelen": 700})
        self.before = self.state()

    def disturb(self) -> None:
        self.kernel.set(COALESCE, self.ifindex, {"rx-frames": 9})
        self.kernel.set(LINK_NUMBERS, self.ifindex, {"gro-max-size": 50000, "txqueuelen": 9})


class Ifb(Card):
    """An ifb, whose queues have byte queue limits."""

    @classmethod
    def made(cls) -> Ifb:
        return cls(IFB, IFB_PROFILE)

    def prepare(self, *, own_qdiscs: bool) -> None:
        self.own_qdiscs = own_qdiscs
        self._limit(0, b"9000", b"0")
        self._limit(1, b"max", b"2000")
        self.before = self.state()

    def disturb(self) -> None:
        self._limit(1, b"7000", b"6000")

    def _limit(self, queue: int, most: bytes, least: bytes) -> None:
        limits = f"{CLASS_NET}/{self.name}/queues/tx-{queue}/byte_queue_limits"
        self.kernel.files.write(f"{limits}/limit_max", most)
        self.kernel.files.write(f"{limits}/limit_min", least)


class Polled(Card):
    """A card with NAPI instances, one of which somebody had set by itself."""

    @classmethod
    def made(cls) -> Polled:
        return cls(CARD, POLLED_PROFILE)

    def prepare(self, *, own_qdiscs: bool) -> None:
        self.own_qdiscs = own_qdiscs
        self.kernel.ethtool.set_channels(self.ifindex, rx=2, tx=2)
        self.kernel.set(FEATURES, self.ifindex, {"rx-gro": 1})
        self.kernel.files.write(f"{CLASS_NET}/{self.name}/gro_flush_timeout", b"7")
        own = {"rx-0 defer-hard-irqs": 5, "rx-1 irq-suspend-timeout": 6}
        self.kernel.set(NAPIS, self.ifindex, own)
        self.before = self.state()

    def disturb(self) -> None:
        self.kernel.files.write(f"{CLASS_NET}/{self.name}/napi_defer_hard_irqs", b"9")
        self.kernel.set(NAPIS, self.ifindex, {"rx-1 gro-flush-timeout": 8, "rx-0 threaded": 0})


class Shaped(Card):
    """A card with a shaper at one queue, and with all set by hand of the queues that end."""

    @classmethod
    def made(cls) -> Shaped:
        return cls(CARD, SHAPED_PROFILE)

    def prepare(self, *, own_qdiscs: bool) -> None:
        self.own_qdiscs = own_qdiscs
        with contextlib.suppress(KernelError):
            self.kernel.rtnl.delete_qdisc(self.ifindex)
        self.kernel.ethtool.set_channels(self.ifindex, rx=QUEUES, tx=QUEUES)
        for queue in range(QUEUES):
            base = f"{CLASS_NET}/{self.name}/queues"
            self.kernel.files.write(f"{base}/rx-{queue}/rps_cpus", b"1")
            self.kernel.files.write(f"{base}/rx-{queue}/rps_flow_cnt", b"64")
            self.kernel.files.write(f"{base}/tx-{queue}/xps_cpus", b"2")
            self.kernel.files.write(f"{base}/tx-{queue}/xps_rxqs", b"5")
        self.kernel.rtnl.replace_qdisc(self.ifindex, qdisc.ROOT_PARENT, 9 << 16, "mq", {})
        for leaf in (2, 3):
            self.kernel.rtnl.replace_qdisc(self.ifindex, 9 << 16 | leaf, 0, "pfifo", {"limit": 33})
        shaper = "tbf rate 50mbit burst 64kb latency 50ms"
        command = f"tc qdisc replace dev {self.name} parent 9:1 {shaper}"
        subprocess.run(command.split(), check=True)
        self.before = self.state()


def told(state: State, key: Setting, otherwise: str) -> str:
    return describe(state[key]) if key in state else otherwise


def difference(found: State, right: State) -> str:
    """What is other than it should be, for people."""
    keys = sorted(found.keys() | right.keys())
    return ", ".join(
        f"{' '.join(key)} is {told(found, key, 'absent')}, not {told(right, key, 'there')}"
        for key in keys
        if found.get(key) != right.get(key)
    )
