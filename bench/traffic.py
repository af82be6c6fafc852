"""Packets from one veth card to its peer, some thousands a second, until terminated.

``python -m bench.traffic FROM TO``: raw Ethernet frames of an experimental type, so that nothing
needs addresses and nothing leaves the namespace.
"""

from __future__ import annotations

import socket
import sys
import time

EXPERIMENTAL = 0x88B5


def main(sender: str, receiver: str) -> None:
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out,
        open(f"/sys/class/net/{receiver}/address") as address,
    ):
        out.bind((sender, 0))
        target = bytes.fromhex(address.read().strip().replace(":", ""))
        frame = target + out.getsockname()[4] + EXPERIMENTAL.to_bytes(2, "big") + bytes(200)
        while True:
            for _ in range(20):
                out.send(frame)
            time.sleep(0.005)


if __name__ == "__main__":
    main(*sys.argv[1:])
