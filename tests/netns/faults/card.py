"""The card that faults are tried on: what is asked of it, and its state as the kernel shows it."""

from __future__ import annotations

import contextlib

from netuned.errors import KernelError
from netuned.hardware.nic import CLASS_NET, Nic, read_nic
from netuned.kernel import Kernel
from netuned.tunables import qdisc
from netuned.values import Number, Qdisc, describe

CARD = "lan0"
QUEUES = 3
PROFILE = f"""\
match: [{{kind: veth, name: {CARD}}}]
channels: {{combined: max}}
rps: {{cpus: 1}}
xps: {{cpus: auto}}
qdisc: {{kind: pfifo, limit: 500}}
"""

State = dict[str, str]
"""``tunable key`` -> value, of all that the kernel shows."""


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

    def nic(self) -> Nic:
        return read_nic(self.kernel, self.ifindex, self.name)

    def state(self) -> State:
        """All that netuned could set of the card, as the kernel shows it."""
        base, files = f"{CLASS_NET}/{self.name}/queues", self.kernel.files
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

    def made_by_the_kernel(self, setting: str) -> bool:
        """Whether a setting is a leaf that the kernel puts below a new root, or as it makes one."""
        if not setting.startswith("qdisc tx-"):
            return False
        entries = self.kernel.rtnl.qdiscs((self.ifindex,)).get(self.ifindex, ())
        found = qdisc._state(entries, QUEUES)[setting.removeprefix("qdisc ")]
        if isinstance(found, Number):  # the limit of a pfifo that is attached without one
            length = self.kernel.files.read_int(f"{CLASS_NET}/{self.name}/tx_queue_len", 0)
            return setting.endswith(" pfifo limit") and found.value == length
        return isinstance(found, Qdisc) and found.kind in ("pfifo_fast", "noqueue", "noop")


def difference(found: State, right: State) -> str:
    """What is other than it should be, for people."""
    keys = sorted(found.keys() | right.keys())
    return ", ".join(
        f"{key} is {found.get(key, 'absent')}, not {right.get(key, 'there')}"
        for key in keys
        if found.get(key) != right.get(key)
    )
