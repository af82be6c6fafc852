"""The guest as an operator sees it: profiles in, ``netunedctl`` and the kernel's own files out."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jeepney import DBusAddress, MessageFlag, new_method_call

from netuned.bus import wire
from netuned.cpuset import CpuSet

from . import hardware
from .machine import Machine

PROFILES = "/etc/netuned/profiles.d"

FIRST, SECOND = hardware.IGB
NODE1 = {"4", "5", "6", "7"}

IGB = """\
description: Eight queues on the cards' own node
match: [{driver: igb}]
channels: {combined: max}
rss: {queues: all}
irq: {cpus: local & housekeeping, spread: one-per-queue}
rps: {cpus: none}
xps: {cpus: auto}
qdisc: {kind: fq, flow_limit: 1000}
host: {irqbalance: exclude}
"""


def cpus_of(cpulist: str) -> set[int]:
    """The CPUs of a cpulist."""
    return set(CpuSet.parse_list(cpulist))


@dataclass(frozen=True)
class Guest:
    """Looks with the kernel's files and the distribution's own tools, not with netuned."""

    machine: Machine

    def sh(self, command: str, timeout_s: float = 60) -> str:
        return self.machine.run(command, timeout_s).stdout.strip()

    # netuned

    def drop(self, name: str, text: str) -> None:
        """Put a profile into place in one step."""
        self.machine.put(f"{PROFILES}/{name}.yaml", text)

    def remove_profiles(self) -> None:
        self.sh(f"rm -f {PROFILES}/*.yaml")

    def kill(self) -> None:
        """End the daemon as a fault would, and see that it has ended: systemd starts another."""
        self.sh(
            "pid=$(systemctl show -P MainPID netuned) && systemctl kill -s KILL netuned"
            " && while [ -d /proc/$pid ]; do sleep 0.1; done"
        )

    def wait_restart(self) -> None:
        self.wait("the restart", f"systemctl is-active netuned && busctl status {wire.SERVICE}", 60)

    def status(self) -> dict[str, Any]:
        return {"manager": self.manager(), "nics": self.nics()}

    def manager(self) -> dict[str, Any]:
        """What the daemon says of itself, in the form of ``netunedctl status --json``."""
        said = self._ask("org.freedesktop.DBus.Properties", "GetAll", wire.MANAGER)
        plain: dict[str, Any] = _plain(said)
        return plain

    def nics(self) -> list[dict[str, Any]]:
        """What the daemon says of the cards, in the form of ``netunedctl status --json``."""
        said = self._ask(wire.OBJECT_MANAGER, "GetManagedObjects")
        return [_plain(kinds[wire.NIC]) for kinds in said.values() if wire.NIC in kinds]

    def card(self, ifname: str) -> dict[str, Any]:
        return next((nic for nic in self.nics() if nic["name"] == ifname), {})

    def _ask(self, interface: str, method: str, *words: str) -> dict[str, Any]:
        """On the agent's connection to the bus: to start busctl takes the guest 0.5 s."""
        where = DBusAddress(wire.ROOT, wire.SERVICE, interface)
        call = new_method_call(where, method, "s" * len(words), words)
        call.header.flags |= MessageFlag.no_auto_start
        (said,) = self.machine.call(call)
        answer: dict[str, Any] = said
        return answer

    def wait_state(self, ifname: str, state: str, timeout_s: float = 60) -> None:
        self.machine.wait_until(
            lambda: self.card(ifname).get("state") == state, timeout_s, f"{ifname} {state}"
        )

    def wait(self, what: str, command: str, timeout_s: float = 30) -> None:
        """Wait until a command succeeds."""
        self.machine.wait_until(command, timeout_s, what)

    def writes(self) -> int:
        count: int = self.manager()["writes"]
        return count

    def logged_since(self, cursor: str) -> str:
        """netuned's journal after a cursor."""
        return self.sh(f"journalctl -u netuned -o cat --after-cursor='{cursor}'")

    def cursor(self) -> str:
        # of the same unit: after any other entry's cursor, systemd 252 leaves out the unit's next
        shown = self.sh("journalctl -u netuned -n 1 --show-cursor -o cat")
        return shown.rpartition("-- cursor: ")[2].strip()

    # The kernel

    def interrupts(self, ifname: str) -> dict[str, int]:
        """Action name -> number, of the interrupts whose action names the card."""
        shown = self.sh(f"cd /sys/kernel/irq; grep -H {ifname} */actions || true")
        pairs = (line.split("/actions:") for line in shown.splitlines())
        return {name: int(number) for number, name in pairs}

    def affinity(self, irq: int) -> CpuSet:
        return CpuSet.parse_list(self.sh(f"cat /proc/irq/{irq}/smp_affinity_list"))

    def queue_cpus(self, ifname: str) -> list[str]:
        """The affinity of each queue's interrupt, by the card's own names, as cpulists."""
        return _queue_cpus(self.sh(_SHOW["irq"].format(ifname)))

    def masks(self, ifname: str, kind: str) -> list[str]:
        """rps_cpus (``rx``) or xps_cpus (``tx``) of every queue, as cpulists."""
        return _masks(self.sh(_SHOW[{"rx": "rps", "tx": "xps"}[kind]].format(ifname)))

    def table(self, ifname: str) -> list[int]:
        """The RSS indirection table, as ethtool prints it."""
        return _table(self.sh(_SHOW["shares"].format(ifname)))

    def combined(self, ifname: str) -> int:
        return _combined(self.sh(_SHOW["channels"].format(ifname)))

    def qdiscs(self, ifname: str) -> list[str]:
        """Kinds, the root first, then by queue."""
        return _qdiscs(self.sh(_SHOW["qdisc"].format(ifname)))

    def state(self, ifname: str) -> dict[str, Any]:
        """All that netuned sets on a card with combined channels, shown by one command."""
        end = f"; echo {_END}; "
        shown = self.sh(end.join(command.format(ifname) for command in _SHOW.values()))
        parts = zip(_SHOW, shown.split(_END), strict=True)
        return {name: _READ[name](text.strip()) for name, text in parts}

    def wait_for(self, ifname: str, wanted: dict[str, Any], timeout_s: float = 40) -> None:
        """Wait until a card's state is this. Raises: AssertionError naming what is not."""
        deadline = time.monotonic() + timeout_s
        began = time.monotonic()
        while (found := self.state(ifname)) != wanted:
            now = time.monotonic()
            if now > deadline:
                others = {key: found[key] for key in found if found[key] != wanted.get(key)}
                raise AssertionError(f"not within {timeout_s:.0f} s: {wanted}; other: {others}")
            time.sleep(now - began)  # as `Machine.wait_until` does
            began = time.monotonic()


def _plain(said: Any) -> Any:
    """A value as jeepney has it, without its type, and by the names that `netunedctl` uses."""
    if isinstance(said, list):
        return [_plain(each) for each in said]
    if isinstance(said, tuple):
        kind, value = said
        return None if (kind, value) == (wire.NOTHING, []) else _plain(value)
    if not isinstance(said, dict):
        return said
    named = {_netunedctls(key): _plain(of) for key, of in said.items()}
    if "settings" in named:
        of_each = named["settings"].items()
        named["settings"] = [{"tunable": tunable, **setting} for tunable, setting in of_each]
    return named


def _netunedctls(key: str) -> str:
    """The name of an attribute; a key of a value's own, which begins small, stays as it is."""
    return re.sub(r"\B(?=[A-Z])", "_", key).lower() if key[:1].isupper() else key


def show_interrupts(actions: str) -> str:
    """The command that shows where interrupts are whose action is like this, an extended regex.

    One process reads all of it: one for each interrupt took an emulated machine 1 s.
    """
    files = "/sys/kernel/irq/*/actions /proc/irq/*/smp_affinity_list"
    return f'grep -sHxE "({actions}|[-,0-9]+)" {files}; true'


def parse_interrupts(shown: str) -> list[tuple[str, str]]:
    """(action, cpulist) of each interrupt, of what `show_interrupts` shows."""
    found: dict[str, dict[str, str]] = {}
    for line in shown.splitlines():
        path, _, text = line.partition(":")
        *_, irq, name = path.split("/")
        found.setdefault(irq, {})[name] = text
    shown_of = (irq for irq in found.values() if "actions" in irq)
    return [(irq["actions"], irq["smp_affinity_list"]) for irq in shown_of]


_END = "@@@"
_SHOW = {
    "channels": "ethtool -l {0}",
    "shares": "ethtool -x {0}",
    "irq": show_interrupts("{0}-(TxRx|rxtx)-[0-9]+"),
    "rps": "cd /sys/class/net/{0}/queues; grep -H . rx-*/rps_cpus",
    "xps": "cd /sys/class/net/{0}/queues; grep -H . tx-*/xps_cpus",
    "qdisc": "tc -j qdisc show dev {0}",
}
"""What shows a part of a card's state."""


def _combined(shown: str) -> int:
    """The number in use, which ethtool prints last, after the most that the card can have."""
    return int(re.findall(r"^Combined:\s+(\d+)$", shown, re.MULTILINE)[-1])


def _table(shown: str) -> list[int]:
    shown = shown.partition("RSS hash key")[0]
    lines = (line for line in shown.splitlines() if line.partition(":")[0].strip().isdigit())
    return [int(word) for line in lines for word in line.split(":")[1].split()]


def _queue_cpus(shown: str) -> list[str]:
    pairs = sorted(parse_interrupts(shown), key=lambda p: int(p[0].rpartition("-")[2]))
    return [cpus for _, cpus in pairs]


def _masks(shown: str) -> list[str]:
    pairs = (line.rpartition("_cpus:") for line in shown.splitlines())
    by_queue = sorted((int(path[3 : path.index("/")]), mask) for path, _, mask in pairs)
    return [str(CpuSet.parse_mask(mask)) for _, mask in by_queue]


def _qdiscs(shown: str) -> list[str]:
    found = json.loads(shown)
    order = sorted(
        found,
        key=lambda q: (
            not q.get("root"),
            int(q.get("parent", ":0").rpartition(":")[2] or "0", 16),
        ),
    )
    return [qdisc["kind"] for qdisc in order]


_READ: dict[str, Callable[[str], Any]] = {
    "channels": _combined,
    "shares": lambda shown: sorted(Counter(_table(shown)).items()),
    "irq": _queue_cpus,
    "rps": _masks,
    "xps": _masks,
    "qdisc": _qdiscs,
}
