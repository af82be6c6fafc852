"""Samples of a running kernel: what traffic moves, and nothing else."""

from __future__ import annotations

import json
import sys

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

COUNT = """
import json, socket, sys
from netuned.counters.sample import between, to_json
from netuned.counters.take import Taker
from netuned.hardware.host import read_host
from netuned.kernel import Kernel
kernel = Kernel()
nics = read_host(kernel).nics
taker = Taker(kernel)
before = taker.take(nics)
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("lan0", 0))
for _ in range(100):
    sender.send(bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46))
print(json.dumps(to_json(between(before, taker.take(nics)))))
"""


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_hundred_frames_are_a_hundred(user: str) -> None:
    """Of the sender, of the queue's qdisc, and of who receives; to whoever asks."""
    with Lab() as lab:
        # or a card asks for a router of its own accord, seconds after it is up
        lab.shell("sysctl -q -w net.ipv6.conf.default.disable_ipv6=1")
        lab.add_pair("lan0", "peer0", queues=2)
        lab.shell("tc qdisc replace dev lan0 root pfifo")
        code = COUNT
        if user == "nobody":  # who may not send: the socket is opened before rights are dropped
            drop = "import os; os.setresuid(65534, 65534, 65534)\nbefore = taker.take(nics)"
            sender = COUNT.index("sender =")
            code = COUNT[:sender] + COUNT[sender:].replace("for _", f"{drop}\nfor _", 1)
        found = json.loads(lab.run(sys.executable, "-c", code).stdout)
    cards = {card["name"]: card for card in found["cards"].values()}
    assert cards["lan0"]["totals"]["tx_packets"] == 100
    assert cards["lan0"]["qdiscs"]["root"]["packets"] == 100
    assert cards["lan0"]["kinds"] == {"root": "pfifo"}
    assert cards["peer0"]["totals"]["rx_packets"] == 100
    assert sum(cpu["processed"] for cpu in found["cpus"].values()) >= 100
    assert found["missing"] == {}
