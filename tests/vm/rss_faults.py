"""Each call that sets or reads back a real card's RSS table, or what its hash takes in, fails once;
prints figures as JSON.

``python -m tests.vm.rss_faults CARD STRIDE``, as root, where no other netuned has a profile for
the card; every STRIDE-th fault. The harness is that of veth cards (tests/netns/faults), which
have no such table.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from netuned.tunables.hashing import state_of
from netuned.values import RssTable
from tests.netns.faults.bench import bench
from tests.netns.faults.calls import faults_of
from tests.netns.faults.card import Card, State
from tests.netns.faults.runs import Figures

KEY = ("rss", "")
FIELDS = ("hashing", "fields udp4")
PROFILE = """\
match: [{{name: {card}}}]
rss: {{queues: "0-2", weights: [2, 1, 1], fields: {{udp4: [src, dst, sport, dport]}}}}
"""
CALLS = 9
"""From the first write on: by netlink, perhaps by the ioctl, and what is read back."""


class RealCard(Card):
    """A card of which netuned sets the table and the fields of UDP, and nothing else."""

    def state(self) -> State:
        fields = state_of(self.kernel.ethtool.hashing(self.ifindex))[FIELDS[1]]
        return {KEY: RssTable(self.kernel.ethtool.rss_table(self.ifindex)), FIELDS: fields}

    def prepare(self, *, own_qdiscs: bool) -> None:
        self.kernel.ethtool_netlink.set_rss_table(self.ifindex, ())
        self.kernel.ethtool_netlink.set_hashing(self.ifindex, {"udp4": 0x30})
        self.before = self.state()


def inject(card: Card, directory: Path, stride: int) -> Figures:
    """As the profile comes and as it goes."""
    figures = Figures()
    with bench(card, directory, own_qdiscs=False) as made:
        for case in (made.applying, made.restoring):
            if wrong := made.attempt(case, None):
                figures.failed.append(f"{case.__name__} without a fault: {wrong}")
                break
            names = list(made.calls.names)
            about = [
                at
                for at, (_, name) in enumerate(names)
                # of the many questions about kinds of flow the first
                if "rss" in name or ("hashing" in name and name != names[at - 1][1])
            ]
            first = next(at for at in about if names[at][1].startswith("set "))
            tried = [at for at in about if at >= first][:CALLS]
            chosen = [fault for fault in faults_of(names) if fault.at in tried]
            for fault in chosen[::stride]:
                figures.faults += 1
                if wrong := made.attempt(case, fault):
                    figures.failed.append(f"{case.__name__} {names[fault.at]} {fault}: {wrong}")
                    made.repair()
    return figures


def main() -> None:
    name, stride = sys.argv[1], int(sys.argv[2])
    card = RealCard(name, PROFILE.format(card=name))
    with tempfile.TemporaryDirectory(prefix="netuned-faults-") as directory:
        Path(directory).chmod(0o755)
        print(json.dumps(asdict(inject(card, Path(directory), stride))))


if __name__ == "__main__":
    main()
