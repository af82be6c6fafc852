"""RSS contexts through a kernel's own ioctl and netlink, on a card of netdevsim's.

The kernel keeps their tables, numbers them and says what it refuses; the module only says yes.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from .guest_host import Guest

SECTION = re.compile(r"^context (\d+)$", re.MULTILINE)
ROW = re.compile(r"^ +\d+: +([\d ]+)$", re.MULTILINE)
TARGET = re.compile(r"Filter: (\d+)\n.*?RSS Context (?:ID: )?(\d+)", re.DOTALL)
ENTRIES = 64
WAIT_S = 60
PROFILE = """\
match: [{{name: {card}}}]
rss:
  queues: "0-1"
  contexts: {{app: {{queues: "{app}"}}, web: {{queues: [6, 7], weights: [3, 1]}}}}
flows:
  - {{match: {{proto: tcp4, dport: 443}}, to: context app}}
  - {{match: {{proto: tcp6, dport: 80}}, to: context web}}
"""


def tables(guest: Guest, ifname: str) -> dict[int, dict[int, int]]:
    """By number of each context, how many entries of its table each queue has."""
    shown = guest.sh(
        f"for n in 1 2 3 4; do echo context $n; ethtool -x {ifname} context $n 2>&1; done; true"
    )
    parts = SECTION.split(shown)[1:]
    found = {}
    for number, part in zip(parts[::2], parts[1::2], strict=True):
        if rows := ROW.findall(part):
            found[int(number)] = dict(Counter(int(queue) for queue in " ".join(rows).split()))
    return found


def even(*queues: int) -> dict[int, int]:
    return dict.fromkeys(queues, ENTRIES // len(queues))


def targets(guest: Guest, ifname: str) -> dict[int, int]:
    """By location, the context that a rule goes to."""
    shown = guest.sh(f"ethtool -n {ifname}")
    return {int(at): int(context) for at, context in TARGET.findall(shown)}


def walk_through(guest: Guest, ifname: str) -> None:
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    guest.sh(f"ethtool -X {ifname} context new equal 4")
    guest.sh(f"ethtool -N {ifname} flow-type udp4 dst-port 4789 context 1 loc 1")
    before = tables(guest, ifname), targets(guest, ifname), guest.table(ifname)
    assert before[:2] == ({1: even(0, 1, 2, 3)}, {1: 1})
    weighed = {6: 48, 7: 16}
    in_force = {1: even(0, 1, 2, 3), 2: even(4, 5), 3: weighed}

    def wait(contexts: dict[int, dict[int, int]], what: str) -> None:
        guest.machine.wait_until(lambda: tables(guest, ifname) == contexts, WAIT_S, what)

    guest.drop("contexts", PROFILE.format(card=ifname, app="4-5"))
    try:
        guest.wait_state(ifname, "in-sync")
        assert tables(guest, ifname) == in_force
        assert targets(guest, ifname) == {0: 2, 1: 1, 2: 3}
        guest.sh(f"ethtool -X {ifname} context 2 equal 1")
        wait(in_force, "another table repaired")
        guest.sh(f"ethtool -N {ifname} delete 2; ethtool -X {ifname} context 3 delete")
        wait(in_force, "what was deleted made again")
        guest.machine.wait_until(
            lambda: targets(guest, ifname) == {0: 2, 1: 1, 2: 3}, WAIT_S, "its rule, too"
        )
        guest.wait_state(ifname, "in-sync")
        guest.kill()
        guest.wait_restart()
        guest.wait_state(ifname, "in-sync")
        writes = guest.writes()
        guest.sh("netunedctl apply")
        assert guest.writes() == writes, "they are known as netuned's own"
        guest.drop("contexts", PROFILE.format(card=ifname, app="2-3"))
        wait({**in_force, 2: even(2, 3)}, "a profile's other queues")
        guest.wait_state(ifname, "in-sync")
        assert targets(guest, ifname) == {0: 2, 1: 1, 2: 3}
        assert "context 2 64 entries over 2-3" in " ".join(
            guest.sh(f"netunedctl status {ifname}").split()
        )
    finally:
        guest.remove_profiles()
    guest.wait_state(ifname, "unmanaged")
    assert (tables(guest, ifname), targets(guest, ifname), guest.table(ifname)) == before
    guest.sh(f"ethtool -N {ifname} delete 1; ethtool -X {ifname} context 1 delete")


def test_own_contexts_are_made_repaired_and_go_and_others_stay(
    guest: Guest, simulated: str
) -> None:
    """By the ioctl; the kernel tells nobody of changes."""
    walk_through(guest, simulated)


@pytest.mark.newest_kernel
def test_the_same_by_netlink(guest: Guest, simulated: str) -> None:
    """RSS_CREATE_ACT and RSS_DELETE_ACT; others' changes are told, by the ioctl too."""
    walk_through(guest, simulated)
