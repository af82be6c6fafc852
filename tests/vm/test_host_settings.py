"""Sysctls and huge pages in the first network namespace, written from within the unit's sandbox."""

from __future__ import annotations

from .guest_host import FIRST, PROFILES, Guest

PAGES = "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
RMEM_MAX = "/proc/sys/net/core/rmem_max"
FILES = {
    RMEM_MAX: "134217728",
    "/proc/sys/net/core/netdev_budget": "601",
    "/proc/sys/net/core/default_qdisc": "fq",
    "/proc/sys/net/ipv4/tcp_wmem": "4096 16384 8388608",
    "/proc/sys/vm/max_map_count": "1048576",
    "/proc/sys/vm/dirty_bytes": "67108864",
    "/proc/sys/vm/dirty_ratio": "0",
    PAGES.format(0): "3",
    PAGES.format(1): "2",
}
PROFILE = f"""\
match: [{{name: {FIRST}}}]
host:
  sysctl:
    net.core.rmem_max: ">=128M"
    net.core.netdev_budget: 601
    net.core.default_qdisc: fq
    net.ipv4.tcp_wmem: [4096, 16384, 8M]
    vm.max_map_count: ">=1048576"
    vm.dirty_bytes: 64M
  hugepages: {{2M: {{node0: 3, node1: 2}}}}
"""


def test_host_settings_are_set_repaired_and_put_back(guest: Guest) -> None:
    def there() -> dict[str, str]:
        return {path: " ".join(guest.sh(f"cat {path}").split()) for path in FILES}

    def settings() -> dict[str, str]:
        shown = guest.status()["manager"]["settings"]
        return {setting["tunable"]: setting["state"] for setting in shown}

    guest.remove_profiles()
    guest.sh("netunedctl reload")
    before = there()
    guest.drop("host", PROFILE)
    try:
        guest.machine.wait_until(lambda: there() == FILES, 40, "all as the profile says")
        assert settings() == {"sysctl": "in-sync", "hugepages": "in-sync"}
        cursor = guest.cursor()
        guest.sh(f"echo 1 > {PAGES.format(1)}; echo 65530 > /proc/sys/vm/max_map_count")
        guest.sh(f"echo 300000 > {RMEM_MAX}; echo 5 > /proc/sys/net/core/netdev_budget")
        guest.machine.wait_until(lambda: there() == FILES, 15, "the repair, before a resync")
        assert "Repaired host hugepages 2M/node1" in guest.logged_since(cursor)
        guest.sh(f"echo 200000000 > {RMEM_MAX}; netunedctl apply")
        assert there()[RMEM_MAX] == "200000000"  # more is as wanted, too
        guest.kill()
        guest.sh("echo 70000 > /proc/sys/vm/max_map_count")
        guest.wait_restart()
        guest.wait("its repair", "[ $(cat /proc/sys/vm/max_map_count) = 1048576 ]", 30)
    finally:
        guest.sh(f"rm -f {PROFILES}/host.yaml")
    guest.machine.wait_until(lambda: there() == before, 40, "all as before")
