"""What costs a host something, really made to happen: run inside a namespace, by its name.

Prints the findings as ``netunedctl doctor --json`` does, once the wanted one is among them, or
those of the last of thirty seconds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from netuned.cli.doctor import as_json
from netuned.cli.text import print_json
from netuned.counters.sample import Sample, between
from netuned.counters.take import Taker
from netuned.doctor import facts as reading
from netuned.doctor.examine import examine
from netuned.hardware.host import read_host
from netuned.kernel import Kernel

FRAMES = 20_000


def frame(port: int) -> bytes:
    """Ethernet, IPv4 and UDP, from this port to the next; without checksums."""
    udp = struct.pack("!4H", port, 9, 8 + 32, 0) + bytes(32)
    addresses = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2")
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    return b"\xff" * 6 + bytes(6) + b"\x08\x00" + ip + udp


def send(flows: int = 64, count: int = FRAMES) -> None:
    """Frames of so many flows, as fast as it goes."""
    frames = [frame(1024 + flow) for flow in range(flows)]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("lan0", 0))
        for number in range(count):
            sender.send(frames[number % flows])


def alternate(part: int) -> None:
    """One stream whose sender is on one CPU, then on another."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(os.getppid()))[part % 2]})
    send(flows=1, count=4_000)


def datagrams() -> None:
    """More than a slow link takes at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(200):
            sender.sendto(bytes(500), ("192.0.2.2", 9))


def unread_datagrams() -> None:
    """A socket that nobody reads."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.bind(("127.0.0.1", 0))
        for _ in range(500):
            sender.sendto(bytes(1000), reader.getsockname())


def unread_stream() -> None:
    """Connections whose windows close, for nobody reads them."""
    with contextlib.ExitStack() as held, socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(40):
            sender = held.enter_context(socket.create_connection(server.getsockname()))
            held.enter_context(server.accept()[0])
            sender.setblocking(False)
            for _ in range(3):  # with more to come when the first is acknowledged
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sender.send(bytes(65536))
                time.sleep(0.01)
        time.sleep(0.25)  # the end of a window is told with a delayed acknowledgement


ACTS: dict[str, Callable[[], None]] = {
    "flood": send,
    "datagrams": datagrams,
    "unread-datagrams": unread_datagrams,
    "unread-stream": unread_stream,
    "nothing": lambda: None,
    "wait": lambda: time.sleep(0.2),
}


def main(wanted: str, act: str) -> None:
    kernel = Kernel()
    host = read_host(kernel)
    taker = Taker(kernel)
    deadline = time.monotonic() + 30
    while True:
        samples: list[Sample] = [taker.take(host.nics)]
        for part in range(5 if act == "alternate" else 1):
            alternate(part) if act == "alternate" else ACTS[act]()
            samples.append(taker.take(host.nics))
        steps = tuple(between(*pair) for pair in pairwise(samples))
        facts = replace(reading.read(kernel, host, host.nics), steps=steps)
        what = between(samples[0], samples[-1])
        findings = examine(facts, what)
        if any(f.name == wanted for f in findings) or time.monotonic() > deadline:
            names = [nic.name for nic in host.nics.values()]
            return print_json(as_json(findings, names, what.seconds, facts.missing))


if __name__ == "__main__":
    main(*sys.argv[1:])
