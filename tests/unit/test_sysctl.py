"""Sysctls: what profiles may say, bounds, pairs, yielding, and who says otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netuned.errors import KernelError
from netuned.hardware.nic import HOST
from netuned.kernel import Kernel
from netuned.planning.neighbours import Governed, conflicts
from netuned.profiles.profile import Profile
from netuned.profiles.sysctls import KNOWN, path_of, reset_by, reset_with
from netuned.reconcile.card import Card
from netuned.reconcile.host import host_target
from netuned.tunables import HOST_TUNABLES
from netuned.tunables.base import HostTarget
from netuned.tunables.sysctl import SYSCTL, gathered
from netuned.values import Sysctl
from tests.unit.hosts import Host
from tests.unit.machines import nic

NEIGH = "net.ipv4.neigh.default.base_reachable_time"
FORWARD, ALL_FORWARD = "net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"
RMEM, BUDGET = "net.ipv4.tcp_rmem", "net.core.netdev_budget"


def profile(sysctl: Any, name: str = "edge", **keys: Any) -> Profile:
    yields = {"yield": keys.pop("yields")} if "yields" in keys else {}
    return Profile.of({"name": name, "host": {"sysctl": sysctl, **yields}, **keys})


def wanted(*profiles: Profile) -> HostTarget:
    found = gathered(profiles)
    assert found is not None
    return found


# What may be said


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ({BUDGET: 600}, "600"),
        ({"net.core.rmem_max": ">=512M"}, ">=536870912"),
        ({"net.core.rmem_max": "<= 64MiB"}, "<=67108864"),
        ({RMEM: [4096, "128K", "32M"]}, "4096 131072 33554432"),
        ({RMEM: "4096\t131072  33554432"}, "4096 131072 33554432"),
        ({"net.core.default_qdisc": "fq"}, "fq"),
        ({"vm.unknown_thing": " a  b "}, "a b"),
        ({"vm.unknown_thing": ">=7"}, ">=7"),
        ({"net.ipv4.conf.eth0/100.rp_filter": 2}, "2"),
        ({"net.core.somaxconn": "default"}, "default"),
        ({"net.ipv4.tcp_notsent_lowat": 4294967295}, "4294967295"),
    ],
)
def test_what_may_be_said(said: dict[str, Any], means: str) -> None:
    spec = profile(said).host.sysctl
    assert spec is not None
    assert [value for _, value in spec.named()] == [means]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        *(({BUDGET: value}, "from 1 to") for value in (0, -1, "many", "1 2", "0x10", 1 << 31)),
        ({"net.core.netdev_max_backlog": -1}, "from 1 to"),
        ({"vm.max_map_count": 0}, "from 1024 to"),
        *(({RMEM: value}, "3 whole numbers") for value in ("4096 1 2", "4096 8192", [1, 2, 3, 4])),
        ({"net.core.flow_limit_table_len": 1000}, "a power of two"),
        ({"net.core.default_qdisc": ">=fq"}, "write a name"),
        ({BUDGET: True}, "not allowed here"),
        ({BUDGET: 1.5}, "not allowed here"),
        ({BUDGET: None}, "not allowed here"),
        ({BUDGET: []}, "no value is given"),
        ({"vm.x": ">=a"}, "whole numbers after"),
        ({"vm.x": "a\x1b[2J"}, "printable"),
        ({"vm.x": "x" * 2000}, "printable"),
        *(
            ({key: 1}, "is no sysctl below net. or vm.")
            for key in ("kernel.panic", "net", "net.", "net.//.kernel.panic", "vm...x", "net.a b")
        ),
        ({"vm./../kernel/panic": 1}, "is no sysctl below"),
        ({"vm.drop_caches": 3}, "not a state"),
        ({"net.ipv4.route.flush": 1}, "not a state"),
        ({"net.ipv4.tcp_fastopen_key": "1-2-3-4"}, "is a secret"),
        ({"net.ipv6.conf.eth0/1.stable_secret": "::1"}, "is a secret"),
        ({"net.core.rps_sock_flow_entries": 5}, "rfs"),
        ({"vm.nr_hugepages": 5}, "hugepages"),
        ({"vm.dirty_bytes": "64M", "vm.dirty_ratio": 10}, "exclude each other"),
        ({"vm.dirty_bytes": "64M", "vm.dirty_ratio": "default"}, "exclude each other"),
        ({f"{NEIGH}_ms": 9000, NEIGH: 9}, "exclude each other"),
        ({"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.forwarding": 0}, "the same as"),
        ({f"vm.x{n}": 1 for n in range(300)}, "at most 256"),
    ],
)
def test_what_may_not(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        profile(said)


def test_only_what_is_set_is_yielded() -> None:
    with pytest.raises(ValidationError, match="not among the sysctls"):
        profile({BUDGET: 600}, yields=[RMEM])


@pytest.mark.parametrize("key", sorted(key for key in KNOWN if "*" not in key))
def test_what_is_known_fits_this_kernel(key: str) -> None:
    """No range refuses what a kernel has by itself; one that it lacks says nothing."""
    path = Path(path_of(key))
    if not path.exists() or not (text := path.read_text().split()):
        return
    kind = KNOWN[key]
    zeroed = key.endswith("_bytes") and text == ["0"]  # as its twin is set
    if kind.word or zeroed:
        assert len(text) == 1
    else:
        assert len(text) == kind.count
        assert all(kind.least <= int(number) <= kind.most for number in text), (key, text, kind)


# What profiles in force make of it


def test_bounds_that_hold_together_are_the_tighter() -> None:
    found = wanted(
        profile({BUDGET: ">=300", "net.core.somaxconn": 9000, "net.core.busy_poll": "<=50"}, "a"),
        profile({BUDGET: ">=600", "net.core.somaxconn": ">=4096", "net.core.busy_poll": 20}, "b"),
    )
    said = {key: str(value) for key, value in found.values["sysctl"].items()}
    assert said == {BUDGET: ">=600", "net.core.somaxconn": "9000", "net.core.busy_poll": "20"}
    assert found.conflicts == ()
    assert found.reasons["sysctl"][BUDGET] == "host.sysctl of profile b"


@pytest.mark.parametrize(
    ("first", "second"),
    [(300, 600), (300, ">=600"), (">=600", "<=300"), ("default", 600), (">=300", "default")],
)
def test_values_that_do_not_are_a_conflict(first: Any, second: Any) -> None:
    found = wanted(profile({BUDGET: first}, "a"), profile({BUDGET: second}, "b"))
    (said,) = found.conflicts
    assert f"profiles a and b want {first} and {second}; a goes first" in said


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"vm.dirty_bytes": "100M"}, {"vm.dirty_ratio": 20}),
        ({"vm.dirty_ratio": 20}, {"vm.dirty_bytes": "100M"}),
        ({"vm.dirty_background_bytes": "1M"}, {"vm.dirty_background_ratio": "default"}),
        ({"vm.overcommit_ratio": "default"}, {"vm.overcommit_kbytes": ">=7"}),
        ({"net.mptcp.pm_type": 0}, {"net.mptcp.path_manager": "kernel"}),
        ({NEIGH: 30}, {f"{NEIGH}_ms": 15000}),
        ({"net.ipv6.neigh.eth0.unres_qlen_bytes": 9}, {"net.ipv6.neigh.eth0.unres_qlen": 9}),
        ({"net.ipv4.route.gc_min_interval_ms": 500}, {"net.ipv4.route.gc_min_interval": 0}),
    ],
)
def test_two_of_which_one_changes_the_other_are_a_conflict(first: Any, second: Any) -> None:
    found = wanted(profile(first, "a"), profile(second, "b"))
    assert found.values["sysctl"].keys() == first.keys()
    (said,) = found.conflicts
    assert "which exclude each other; a goes first" in said
    assert all(key in said for key in (*first, *second))


def test_another_name_of_a_sysctl_is_that_sysctl() -> None:
    found = wanted(profile({FORWARD: 1}, "a"), profile({ALL_FORWARD: 0}, "b", yields=[ALL_FORWARD]))
    assert {key: str(value) for key, value in found.values["sysctl"].items()} == {FORWARD: "1"}
    (said,) = found.conflicts
    assert "profiles a and b want 1 and 0; a goes first" in said
    (value,) = wanted(profile({ALL_FORWARD: 1}, yields=[ALL_FORWARD])).values["sysctl"].values()
    assert isinstance(value, Sysctl)
    assert value.yields
    assert wanted(profile({FORWARD: 1}, "a"), profile({ALL_FORWARD: 1}, "b")).conflicts == ()
    watched = [*SYSCTL.marked(HOST, f"sysctl {FORWARD}")]
    assert watched == [
        ("/proc/sys/net/ipv4", "ip_forward"),
        ("/proc/sys/net/ipv4/conf/all", "forwarding"),
    ]


@pytest.mark.parametrize(
    ("had", "one", "asked", "waits"),
    [
        ("0", "1", Sysctl("1"), True),  # lan0's own was reset, and would be against what is asked
        ("0", "0", Sysctl("1"), False),  # is as ip_forward was: only a profile can have set it
        ("1", "0", Sysctl("1"), False),  # nothing was reset
        ("0", "1", Sysctl("0", ">="), False),
        ("0", "1", None, False),
    ],
)
def test_what_was_reset_waits_for_what_reset_it(
    had: str, one: str, asked: Sysctl | None, waits: bool
) -> None:
    key = "net.ipv4.conf.lan0.forwarding"
    recorded = {FORWARD: Sysctl(had), key: Sysctl(one)}
    assert SYSCTL.waits(key, recorded, {FORWARD: asked} if asked else {}) == waits
    assert [*SYSCTL.loses(recorded, FORWARD)] == ([key] if one != had else [])


def test_what_resets_which() -> None:
    names = ["all", "default", "eth0.100", "e w"]
    of4 = ["net.ipv4.conf.default.forwarding", "net.ipv4.conf.eth0/100.forwarding"]
    assert reset_with(FORWARD, names) == ["net.ipv4.conf.all.accept_redirects", *of4]
    key = "net.ipv6.conf.all.disable_ipv6"
    assert reset_with(key, ["all", "lo"]) == ["net.ipv6.conf.lo.disable_ipv6"]
    for kept in ("net.ipv4.conf.lo.rp_filter", "net.ipv6.conf.all.forwarding", FORWARD, BUDGET):
        assert reset_by(kept) == ""


def test_what_resets_others_comes_before_them() -> None:
    found = wanted(
        profile(
            {"net.ipv4.conf.all.rp_filter": 1, "net.ipv4.ip_forward": 1, "net.core.busy_poll": 1}
        )
    )
    assert next(iter(found.values["sysctl"])) == "net.ipv4.ip_forward"


def test_profiles_without_any_want_nothing() -> None:
    assert gathered([]) is None
    assert gathered([Profile(name="edge"), profile({BUDGET: "keep"})]) is None
    assert host_target({}, None, ())[0] is None


# On a host


class SysctlHost(Host):
    """Files by the names of their sysctls."""

    def put(self, path: str, text: str) -> None:
        super().put(path_of(path), text)

    def get(self, path: str) -> str:
        return super().get(path_of(path))


@pytest.fixture
def host(tmp_path: Path) -> SysctlHost:
    made = SysctlHost(tmp_path, SYSCTL)
    made.put(BUDGET, "300\n")
    made.put("vm.swappiness", "60")
    return made


def test_each_goes_back_by_itself(host: SysctlHost) -> None:
    both = profile({BUDGET: 600, "vm.swappiness": 10})
    assert len(host.made(both)) == 2
    assert host.made(both) == []
    assert host.made(profile({BUDGET: 600})) == ["host sysctl vm.swappiness: 10 -> 60"]
    assert host.made() == [f"host sysctl {BUDGET}: 600 -> 300"]
    assert host.baseline.of(HOST) == {}


def test_default_is_what_was_there_before(host: SysctlHost) -> None:
    host.made(profile({BUDGET: "default"}))
    host.put(BUDGET, "77")
    assert host.made(profile({BUDGET: "default"})) == [f"host sysctl {BUDGET}: 77 -> 300"]


def test_a_bound_goes_only_as_far_as_it_must(host: SysctlHost) -> None:
    host.put(RMEM, "8192\t20000\t6000000\n")
    host.made(profile({RMEM: ">=4096 131072 1M"}))
    assert host.get(RMEM) == "8192 131072 6000000"
    host.made(profile({RMEM: "<=4096 131072 1M"}))
    assert host.get(RMEM) == "4096 131072 1048576"
    host.made()
    assert host.get(RMEM) == "8192 20000 6000000"


class Clearing:
    """The kernel's handlers of the two: to set one clears the other, and 0 bytes are refused."""

    def __init__(self, host: SysctlHost, monkeypatch: pytest.MonkeyPatch) -> None:
        self._host, self._write = host, host.kernel.files.write
        monkeypatch.setattr(host.kernel.files, "write", self.write)

    def write(self, path: str, data: bytes) -> None:
        twins = {"dirty_bytes": "vm.dirty_ratio", "dirty_ratio": "vm.dirty_bytes"}
        if path.endswith("dirty_bytes") and data == b"0":
            raise KernelError("write", path, 22)
        self._write(path, data)
        if other := twins.get(path.rpartition("/")[2]):
            self._host.put(other, "0")


def test_what_a_value_clears_comes_back(host: SysctlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.put("vm.dirty_ratio", "20")
    host.put("vm.dirty_bytes", "0")
    Clearing(host, monkeypatch)
    host.made(profile({"vm.dirty_bytes": "64M"}))
    for _ in range(2):
        assert host.made(profile({"vm.dirty_bytes": "64M"})) == []
        assert (host.get("vm.dirty_bytes"), host.get("vm.dirty_ratio")) == ("67108864", "0")
    host.made()
    assert (host.get("vm.dirty_bytes"), host.get("vm.dirty_ratio")) == ("0", "20")
    assert host.baseline.of(HOST) == {}


def test_a_setting_in_two_units_goes_back_from_either(
    host: SysctlHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: str, data: bytes) -> None:
        seconds = int(data) // 1000 if path.endswith("_ms") else int(data)
        ms = int(data) if path.endswith("_ms") else int(data) * 1000
        host.put(NEIGH, str(seconds))
        host.put(f"{NEIGH}_ms", str(ms))

    monkeypatch.setattr(host.kernel.files, "write", write)
    write(f"{NEIGH}_ms", b"30500")
    assert host.made(profile({NEIGH: 20})) == [f"host sysctl {NEIGH}: 30 -> 20"]
    assert host.made(profile({f"{NEIGH}_ms": 15000})) == [f"host sysctl {NEIGH}_ms: 20000 -> 15000"]
    assert host.made(profile({f"{NEIGH}_ms": 15000})) == []
    host.made()
    assert (host.get(NEIGH), host.get(f"{NEIGH}_ms")) == ("30", "30500")
    assert host.baseline.of(HOST) == {}


def test_what_another_set_is_left_also_when_the_profile_goes(host: SysctlHost) -> None:
    yielding = profile({BUDGET: 600}, yields=[BUDGET])
    host.made(yielding)
    host.put(BUDGET, "5000")
    assert host.made(yielding) == []
    host.restart()
    assert host.made(yielding) == []
    assert "another program has set it to 5000" in host.card.barred["sysctl", BUDGET]
    assert host.made() == []
    assert host.get(BUDGET) == "5000"
    assert host.baseline.of(HOST) == {}


def test_what_comes_between_look_and_write_is_left(
    host: SysctlHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SYSCTL.write

    def late(view: Any, found: Any, values: Any) -> None:
        host.put(BUDGET, "777")
        write(view, found, values)

    tunables = [t for t in HOST_TUNABLES if t is not SYSCTL]
    host.card = Card(host.kernel, HOST, (*tunables, replace(SYSCTL, write=late)))
    host.look(profile({BUDGET: 600}, yields=[BUDGET]))
    assert host.get(BUDGET) == "777"


def test_where_bpftune_runs_a_yielded_sysctl_is_its_own(host: SysctlHost) -> None:
    process = host.root / "proc" / "812"
    process.mkdir()
    (process / "comm").write_text("bpftune\n")
    assert host.made(profile({BUDGET: 600, "vm.swappiness": 10}, yields=[BUDGET])) == [
        "host sysctl vm.swappiness: 60 -> 10"
    ]
    assert "bpftune (pid 812) runs" in host.card.barred["sysctl", BUDGET]
    assert host.made(profile({BUDGET: 600})) != []


def test_masks_are_compared_as_sets(host: SysctlHost) -> None:
    host.put("net.core.flow_limit_cpu_bitmap", "0000000f\n")
    assert host.made(profile({"net.core.flow_limit_cpu_bitmap": "f"})) == []


def test_a_bound_of_what_is_no_number_is_told(host: SysctlHost) -> None:
    host.put("vm.thing", "words\n")
    assert host.made(profile({"vm.thing": ">=5"})) == []
    assert "no number" in host.card.barred["sysctl", "vm.thing"]


# Who says otherwise


def said(root: Path, text: str, sysctl: Any, name: str = "etc/sysctl.d/90-x.conf") -> list[str]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    kept = Governed(nic(2, "en0", 2), frozenset({"irq"}))
    files = Kernel(str(root)).files
    return [*conflicts(files, (kept,), "exclude", wanted(profile(sysctl)).values)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"{BUDGET} = 300\n", 1),
        (f"-{BUDGET}=300\n", 1),
        ("net/core/netdev_budget = 300\n", 1),
        ("net.core.netdev_* = 300\n", 1),
        (f"{BUDGET} = 300\n{BUDGET} = 600\n", 0),
        (f"{BUDGET} = 600\n", 0),
        (f"# {BUDGET} = 300\n; {BUDGET} = 300\n\n=\n{BUDGET}\n", 0),
    ],
)
def test_files_of_sysctl_d_that_say_otherwise(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "proc").mkdir()
    found = said(tmp_path, text, {BUDGET: 600})
    assert len(found) == count
    assert all("/etc/sysctl.d/90-x.conf" in sentence for sentence in found)


@pytest.mark.parametrize("wanted", ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"])
@pytest.mark.parametrize(
    "written", ["net.ipv4.ip_forward", "net/ipv4/conf/all/forwarding", "net.ipv4.conf.all.*"]
)
def test_a_file_may_say_it_by_another_name(tmp_path: Path, wanted: str, written: str) -> None:
    (tmp_path / "proc").mkdir()
    (sentence,) = said(tmp_path, f"{written} = 0\n", {wanted: 1})
    assert "sets net.ipv4.ip_forward to 0 by /etc/sysctl.d/90-x.conf" in sentence


def test_the_last_file_holds_and_a_bound_may_hold_for_it(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    said(tmp_path, f"{BUDGET} = 300\n", {BUDGET: 600}, "usr/lib/sysctl.d/50-a.conf")
    assert said(tmp_path, f"{BUDGET} = 900\n", {BUDGET: ">=600"}) == []
    assert len(said(tmp_path, "", {BUDGET: ">=600"})) == 1


def test_bpftune_is_in_the_way_of_what_is_not_yielded(tmp_path: Path) -> None:
    (tmp_path / "proc" / "812").mkdir(parents=True)
    (tmp_path / "proc" / "812" / "comm").write_text("bpftune\n")
    kept = Governed(nic(2, "en0", 2), frozenset({"irq"}))
    for yields, count in (([], 1), ([BUDGET], 0)):
        asked = wanted(profile({BUDGET: 600, "vm.swappiness": 5}, yields=yields)).values
        found = conflicts(Kernel(str(tmp_path)).files, (kept,), "exclude", asked)
        assert len(found) == count
        assert all(f"may tune {BUDGET}, too" in sentence for sentence in found)


def test_tuned_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "proc" / "812").mkdir(parents=True)
    (tmp_path / "proc" / "812" / "comm").write_text("tuned\n")
    active = tmp_path / "etc/tuned/active_profile"
    active.parent.mkdir(parents=True)
    active.write_text("mine\n")
    text = f"[sysctl]\n{BUDGET}=>900\n[net]\n"
    (found,) = said(tmp_path, text, {BUDGET: 600}, "etc/tuned/mine/tuned.conf")
    assert "TuneD (pid 812) sets net.core.netdev_budget to >900" in found
    assert not said(tmp_path, text.replace("9", "3"), {BUDGET: 600}, "etc/tuned/mine/tuned.conf")
