"""Sysctls of a network namespace: what of net. is its own is kept, the rest is told.

Nothing below vm. is written here, for that is the whole machine's; tests/unit and tests/vm do.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

MATCH = "match: [{kind: veth, name: lan0}]\n"
SOMAXCONN, RMEM = "net.core.somaxconn", "net.ipv4.tcp_rmem"


def host(*lines: str, yields: str = "") -> str:
    """A profile with these sysctls."""
    said = "".join(f"    {line}\n" for line in lines)
    return f"{MATCH}host:\n  sysctl:\n{said}" + (f"  yield: [{yields}]\n" if yields else "")


class SysctlLab(Lab):
    def get(self, key: str) -> str:
        return " ".join(self.shell(f"cat /proc/sys/{key.replace('.', '/')}").split())

    def put(self, key: str, value: str) -> None:
        self.shell(f"echo '{value}' > /proc/sys/{key.replace('.', '/')}")

    def until(self, key: str, value: str) -> None:
        self.wait(lambda: self.get(key) == value, f"{key} = {value}, is {self.get(key)}")

    def shown(self) -> dict[str, Any]:
        settings = self.status()["manager"]["settings"]
        return next((setting for setting in settings if setting["tunable"] == "sysctl"), {})

    def wait_shown(self, state: str) -> None:
        self.wait(lambda: self.shown().get("state") == state, f"{state}: {self.shown()}")


@pytest.fixture
def lab() -> Iterator[SysctlLab]:
    with SysctlLab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.put(SOMAXCONN, "4000")
        made.put(RMEM, "4096 131072 6000000")
        yield made


def test_values_are_set_kept_and_put_back_key_by_key(lab: SysctlLab) -> None:
    lab.profile("edge", host(f"{SOMAXCONN}: 8192", f'{RMEM}: ">=4096 16384 32M"'))
    lab.start()
    lab.wait_shown("in-sync")
    assert lab.get(SOMAXCONN) == "8192"
    assert lab.get(RMEM) == "4096 131072 33554432"
    assert "Set host sysctl net.core.somaxconn: 4000 -> 8192" in lab.logged()
    writes = lab.status()["manager"]["writes"]
    lab.ctl("apply")
    assert lab.status()["manager"]["writes"] == writes
    assert lab.ctl("plan", "--exit-code").returncode == 0
    lab.put(SOMAXCONN, "16")  # told by inotify, long before the resync
    lab.until(SOMAXCONN, "8192")
    lab.put(RMEM, "4096 140000 44000000")  # more is as wanted, too
    lab.ctl("apply")
    assert lab.get(RMEM) == "4096 140000 44000000"
    lab.profile("edge", host(f"{SOMAXCONN}: 1024"))
    lab.until(RMEM, "4096 131072 6000000")
    lab.until(SOMAXCONN, "1024")
    (lab.profiles / "edge.yaml").unlink()
    lab.until(SOMAXCONN, "4000")
    lab.wait(lambda: lab.shown() == {}, "nothing kept")


def test_a_bound_that_holds_is_nobodys_but_the_administrators(lab: SysctlLab) -> None:
    """What netuned never wrote is not put back, whatever it was when the profile came."""
    lab.put(SOMAXCONN, "6000")
    lab.profile("edge", host(f'{SOMAXCONN}: ">=5000"'))
    lab.start()
    lab.wait_shown("in-sync")
    lab.put(SOMAXCONN, "5500")
    lab.ctl("apply")
    (lab.profiles / "edge.yaml").unlink()
    lab.wait(lambda: lab.shown() == {}, "nothing kept")
    assert lab.get(SOMAXCONN) == "5500"


def test_what_a_namespace_lacks_or_shows_read_only_is_told(lab: SysctlLab) -> None:
    lab.profile(
        "edge",
        host(
            "net.core.netdev_budget: 600",
            'net.core.rmem_max: ">=512M"',
            "net.ipv4.tcp_congestion_control: nosuch",
            f"{SOMAXCONN}: 8192",
        ),
    )
    lab.start()
    lab.wait_shown("unsupported")
    lab.until(SOMAXCONN, "8192")
    reason = lab.shown()["reason"]
    assert reason.startswith("3 of ")
    assert "net.core.netdev_budget: this kernel does not have it" in reason
    assert "net.core.rmem_max: it cannot be written" in reason
    assert "net.ipv4.tcp_congestion_control: " in reason
    assert lab.status()["manager"]["state"] == "partial"
    assert "netdev_budget" in lab.logged()
    planned = lab.ctl("plan", "--exit-code", check=False)
    assert planned.returncode == 3
    assert "Nothing to do" not in planned.stdout
    assert "net.core.rmem_max" in planned.stdout
    assert "net.core.rmem_max" in lab.ctl("status").stdout
    writes = lab.status()["manager"]["writes"]
    lab.ctl("reload")
    assert lab.status()["manager"]["writes"] == writes


def test_what_another_program_sets_is_left_to_it(lab: SysctlLab) -> None:
    yielding = host(f"{RMEM}: [4096, 131072, 32M]", f"{SOMAXCONN}: 8192", yields=RMEM)
    lab.profile("edge", yielding)
    lab.start()
    lab.until(RMEM, "4096 131072 33554432")
    lab.wait_shown("in-sync")
    lab.profile("edge", yielding.replace("32M", "16M"))  # the profile's own change is followed
    lab.until(RMEM, "4096 131072 16777216")
    theirs = "4096 131072 9000000"
    lab.put(RMEM, theirs)
    lab.wait_shown("unsupported")
    assert "1 of 2 are left: net.ipv4.tcp_rmem: another program has set" in lab.shown()["reason"]
    for ask in ("apply", "reload"):
        lab.ctl(ask)
        assert lab.get(RMEM) == theirs
    lab.stop(signal.SIGKILL)
    lab.start()
    lab.wait_shown("unsupported")
    assert lab.get(RMEM) == theirs
    (lab.profiles / "edge.yaml").unlink()
    lab.until(SOMAXCONN, "4000")
    lab.wait(lambda: lab.shown() == {}, "nothing kept")
    assert lab.get(RMEM) == theirs


RESETS = [
    ("net.ipv4.ip_forward", "net.ipv4.conf.lan0.forwarding"),
    ("net.ipv4.ip_forward", "net.ipv4.conf.default.forwarding"),
    ("net.ipv6.conf.all.forwarding", "net.ipv6.conf.lan0.forwarding"),
    ("net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.peer0.disable_ipv6"),
    ("net.ipv6.conf.all.addr_gen_mode", "net.ipv6.conf.lan0.addr_gen_mode"),
]
REDIRECTS = "net.ipv4.conf.all.accept_redirects"


@pytest.mark.parametrize("restored", [False, True])
def test_what_the_kernel_resets_comes_back(lab: SysctlLab, restored: bool) -> None:
    """ip_forward, and what is of all interfaces, set each interface's as they are set."""
    ones = [one for _, one in RESETS]
    alls = list(dict.fromkeys(key for key, _ in RESETS))
    for key in alls:
        lab.put(key, "0")
    for one in ones:
        lab.put(one, "1")
    lab.put(REDIRECTS, "0")
    before = {key: lab.get(key) for key in (*alls, *ones, REDIRECTS)}
    lab.profile("edge", host(*(f"{key}: 1" for key in alls)))
    lab.start()
    lab.wait_shown("in-sync")
    assert {lab.get(key) for key in (*alls, *ones)} == {"1"}
    lab.ctl("apply")
    assert lab.ctl("plan", "--exit-code").returncode == 0
    if restored:
        lab.stop(signal.SIGKILL)
        lab.start()
        lab.ctl("restore")
    else:
        (lab.profiles / "edge.yaml").unlink()
        lab.wait(lambda: lab.shown() == {}, "nothing kept")
    assert {key: lab.get(key) for key in before} == before


def test_what_one_interface_has_by_a_profile_goes_back_by_itself(lab: SysctlLab) -> None:
    forward, one = "net.ipv4.ip_forward", "net.ipv4.conf.lan0.forwarding"
    lab.put(forward, "1")
    lab.profile("edge", host(f"{one}: 0", f"{forward}: 1"))
    lab.start()
    lab.until(one, "0")
    lab.put(forward, "0")  # told by inotify, and set again, which resets lan0's
    lab.until(forward, "1")
    lab.until(one, "0")
    lab.put("net.ipv4.conf.all.forwarding", "0")  # its other name
    lab.until(forward, "1")
    lab.until(one, "0")
    lab.profile("edge", host(f"{forward}: 1"))
    lab.until(one, "1")
    assert lab.get(forward) == "1"


def test_kill_and_start_again_still_restores(lab: SysctlLab) -> None:
    lab.profile("edge", host(f"{SOMAXCONN}: 8192", f"{RMEM}: 4096 131072 32M"))
    lab.start()
    lab.until(RMEM, "4096 131072 33554432")
    lab.stop(signal.SIGKILL)
    lab.put(SOMAXCONN, "5")
    lab.start()
    lab.until(SOMAXCONN, "8192")
    lab.stop(signal.SIGKILL)
    (lab.profiles / "edge.yaml").unlink()
    lab.start()
    lab.until(SOMAXCONN, "4000")
    lab.until(RMEM, "4096 131072 6000000")


def test_two_profiles_that_differ_are_told(lab: SysctlLab) -> None:
    lab.add_pair("wan0", "peer1", queues=2)
    lab.profile("edge", host(f"{SOMAXCONN}: 8192", f'{RMEM}: ">=4096 8192 8M"'))
    lab.profile(
        "wide",
        host(f"{SOMAXCONN}: 9000", f'{RMEM}: ">=4096 8192 16M"').replace("lan0", "wan0")
        + "priority: 60\n",
    )
    lab.start()
    lab.until(SOMAXCONN, "9000")
    lab.until(RMEM, "4096 131072 16777216")
    (said,) = [text for text in lab.status()["manager"]["conflicts"] if "sysctl" in text]
    assert "wide and edge want 9000 and 8192; wide goes first" in said
    assert "tcp_rmem" not in said
    (lab.profiles / "wide.yaml").unlink()
    lab.until(SOMAXCONN, "8192")


def test_a_pause_and_a_policy_that_only_tells_write_nothing(lab: SysctlLab) -> None:
    lab.profile("edge", host(f"{SOMAXCONN}: 8192") + "policy: {enforce: no}\n")
    lab.start()
    lab.wait_shown("drifted")
    assert lab.get(SOMAXCONN) == "4000"
    lab.ctl("pause")
    lab.profile("edge", host(f"{SOMAXCONN}: 8192"))
    lab.ctl("reload")
    changes = json.loads(lab.ctl("plan", "--json").stdout)["changes"]
    assert [(c["tunable"], c["key"], c["after"]) for c in changes] == [
        ("sysctl", SOMAXCONN, "8192")
    ]
    assert "host.sysctl of profile edge" in lab.ctl("plan").stdout
    assert lab.get(SOMAXCONN) == "4000"
    lab.ctl("resume")
    lab.until(SOMAXCONN, "8192")
    lab.ctl("restore", "lan0")
    lab.until(SOMAXCONN, "4000")
    lab.ctl("apply")
    lab.until(SOMAXCONN, "8192")
