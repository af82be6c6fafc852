"""Neighbours are named where they are in the way of what a profile sets, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netuned.assignments import parse_lines
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import Vector
from netuned.importing.link import KEYS
from netuned.kernel.files import Files
from netuned.kernel.writers import find
from netuned.planning.neighbours import PROGRAMS, Governed, Neighbours, conflicts
from netuned.tunables import TUNABLES, Tunable
from netuned.values import Sysctl

NIC = Nic(
    ifindex=2,
    name="eth0",
    driver="virtio_net",
    kind="physical",
    pci="",
    mac="52:54:00:00:00:01",
    speed_mbps=0,
    numa_node=-1,
    device="/sys/devices/pci0000:00/0000:00:03.0",
    up=True,
    rx_queues=1,
    tx_queues=1,
    channels=None,
    rss_queues=1,
    vectors=(Vector("rxtx", 0, 24),),
    affinity=(),
    interrupts=(24,),
)
ALL = frozenset(("channels", "rss", "irq", "rps", "rfs", "xps", "qdisc"))


class Root:
    """A host's files, which a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = Files(str(root))
        (root / "proc").mkdir()

    def write(self, path: str, text: str = "") -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run(self, command: str, pid: int = 812) -> None:
        self.write(f"/proc/{pid}/comm", f"{command[:15]}\n")
        self.write(f"/proc/{pid}/cgroup", f"0::/system.slice/{command}.service\n")

    def found(
        self, *tunables: str, nic: Nic = NIC, irqbalance: str | None = None
    ) -> tuple[str, ...]:
        kept = Governed(nic, frozenset(tunables) or ALL)
        return conflicts(self.files, (kept,), irqbalance)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_nobody_is_in_the_way(root: Root) -> None:
    root.run("sshd")
    assert root.found() == ()
    assert find(root.files, PROGRAMS) == {}


def test_irqbalance(root: Root) -> None:
    root.run("irqbalance")
    (said,) = root.found("irq", irqbalance="leave")
    assert said.startswith("irqbalance (pid 812, irqbalance.service) moves interrupts of eth0")
    assert "irqbalance: exclude" in said
    assert root.found("irq") == (said,)
    assert root.found("irq", irqbalance="exclude") == ()
    assert root.found("irq", irqbalance="stop") == ()
    assert root.found("rps") == ()
    assert root.found("irq", nic=replace(NIC, vectors=())) == ()


@pytest.mark.parametrize(
    ("conf", "tunable", "named"),
    [
        ("[net]\nchannels=combined 4", "channels", "channels in [net]"),
        ("[cards]\ntype=net\ndevices=eth*,!eth1\nchannels=rx 1", "channels", "in [cards]"),
        ("[net]\ndevices=wlan0\nchannels=combined 4", "channels", ""),
        ("[net]\ndevices=!eth0\nchannels=combined 4", "channels", ""),
        ("[net]\nchannels=combined 4", "irq", ""),
        ("[net]\nring=rx 4096", "channels", ""),
        ("[scheduler]\nisolated_cores=2-7", "irq", "isolated_cores in [scheduler]"),
        ("[scheduler]\nisolated_cores=", "irq", ""),
        ("[irq]\naffinity=0-3", "irq", "affinity in [irq]"),
        ("[sysctl]\nnet.core.rps_sock_flow_entries = 8", "rfs", "rps_sock_flow_entries"),
        ("# [net]\n[main]\nsummary=x", "channels", ""),
    ],
)
def test_tuned(root: Root, conf: str, tunable: str, named: str) -> None:
    root.run("tuned")
    root.write("/etc/tuned/active_profile", "mine\n")
    root.write("/etc/tuned/mine/tuned.conf", "[main]\ninclude=base, mine\n")
    root.write("/usr/lib/tuned/profiles/base/tuned.conf", conf)
    found = root.found(tunable)
    assert [named in said and "TuneD (pid 812, tuned.service)" in said for said in found] == (
        [True] if named else []
    )


@pytest.mark.parametrize(
    ("said", "wanted", "named"),
    [
        (">1", Sysctl("5"), False),
        (">9", Sysctl("5"), True),
        ("9", Sysctl("5"), True),
        (">9", Sysctl("5", ">="), False),
        (">9", Sysctl("5", "<="), True),
        (">1", Sysctl("5", "<="), False),
        ("> 5", Sysctl("5"), False),
        ("<9", Sysctl("5"), False),
        ("<3", Sysctl("5"), True),
        ("<3", Sysctl("5", ">="), True),
        ('"5"', Sysctl("5"), False),
        ("'>9'", Sysctl("5", "<="), True),
        ("${many}", Sysctl("5"), False),
        ("9\nenabled=0", Sysctl("5"), False),
    ],
)
def test_tuneds_sysctls_may_be_bounds(root: Root, said: str, wanted: Sysctl, named: bool) -> None:
    root.run("tuned")
    root.write("/etc/tuned/active_profile", "mine\n")
    root.write("/etc/tuned/mine/tuned.conf", f"[x]\ntype=sysctl\nnet/core/somaxconn={said}\n")
    kept = Governed(NIC, ALL)
    found = conflicts(root.files, (kept,), None, {"sysctl": {"net.core.somaxconn": wanted}})
    assert [f"to {said} by" in one and f"want {wanted}:" in one for one in found] == [True] * named


def test_tuned_that_does_not_run(root: Root) -> None:
    root.write("/etc/tuned/active_profile", "mine\n")
    root.write("/etc/tuned/mine/tuned.conf", "[net]\nchannels=combined 4\n")
    assert root.found() == ()


@pytest.mark.parametrize(
    ("keyfile", "named"),
    [
        ("[connection]\ntype=ethernet\ninterface-name=eth0\n[ethtool]\nchannels-combined=4", True),
        ("[connection]\ntype=ethernet\n[ethtool]\nchannels-combined=4", True),
        (
            "[connection]\ntype=ethernet\n[match]\ndriver=virtio*;igb;\n[ethtool]\nchannels-rx=4",
            True,
        ),
        ("[ethernet]\nmac-address=52:54:00:00:00:01\n[ethtool]\nchannels-rx=1", True),
        ("[connection]\ninterface-name=eth0\n[tc]\nqdisc.root=fq", True),
        ("[connection]\ntype=ethernet\ninterface-name=eth1\n[ethtool]\nchannels-combined=4", False),
        ("[connection]\ntype=wifi\n[ethtool]\nchannels-combined=4", False),
        ("[connection]\ntype=ethernet\n[ethtool]\nring-rx=4096\nfeature-gro=true", False),
    ],
)
def test_network_manager(root: Root, keyfile: str, named: bool) -> None:
    path = "/etc/NetworkManager/system-connections/wired.nmconnection"
    root.write(path, keyfile)
    assert root.found() == ()
    root.run("NetworkManager")
    found = root.found()
    assert [path in said and "nmcli" in said for said in found] == [True] * named
    assert root.found("rss") == ()


@pytest.mark.parametrize(
    ("link", "named"),
    [
        ("[Match]\nOriginalName=eth*\n[Link]\nCombinedChannels=4", "CombinedChannels"),
        ("[Match]\nDriver=igb virtio_net\n[Link]\nRxChannels=max\nMTUBytes=9000", "RxChannels"),
        ("[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nReceivePacketSteeringCPUMask=all", "Mask"),
        ("[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep", ""),
        ("[Match]\nOriginalName=!eth0\n[Link]\nCombinedChannels=4", ""),
        ("[Match]\nPath=pci-*\n[Link]\nCombinedChannels=4", ""),
        ("[Link]\nCombinedChannels=4", ""),
        ("[Match]\nOriginalName=eth1 \\\n# or\n eth0\n[Link]\nCombinedChannels=4", "Combined"),
        ("[Match]\nOriginalName=eth1\nOriginalName=eth0\n[Link]\nCombinedChannels=4", "Combined"),
        ("[Match]\nOriginalName=x\nOriginalName=\nDriver=*\n[Link]\nRxChannels=4", "RxChannels"),
        ("[Match]\nOriginalName=eth* !eth0\n[Link]\nCombinedChannels=4", ""),
        ("[Match]\nOriginalName=!eth1 eth0\n[Link]\nCombinedChannels=4", ""),
        ("", ""),
    ],
)
def test_link_files(root: Root, link: str, named: str) -> None:
    root.write("/etc/systemd/network/10-card.link", link)
    found = root.found("channels", "rps")
    assert [named in said and "10-card.link" in said for said in found] == [True] * bool(named)
    assert root.found("rss") == ()


@pytest.mark.parametrize("tunable", [one for one in TUNABLES if one.writers.link])
def test_each_key_that_import_takes_is_in_the_way(root: Root, tunable: Tunable) -> None:
    brought = {key for key, (name, _) in KEYS.items() if name == tunable.name}
    text = "\n".join(f"{key}=1" for key in (*KEYS, "IRQAffinity"))
    root.write("/etc/systemd/network/10-card.link", f"[Match]\nDriver=*\n[Link]\n{text}\n")
    (said,) = root.found(tunable.name)
    named = set(said.partition(" of eth0")[0].removeprefix("udev sets ").split(", "))
    assert named == (brought or {"IRQAffinity"})


def test_the_first_link_file_that_matches_counts(root: Root) -> None:
    root.write("/usr/lib/systemd/network/50-x.link", "[Match]\nDriver=*\n[Link]\nRxChannels=1")
    assert len(root.found()) == 1
    root.write("/etc/systemd/network/50-x.link")  # masks it
    assert root.found() == ()
    root.write("/usr/lib/systemd/network/60-y.link", "[Match]\nDriver=*\n[Link]\nRxChannels=1")
    assert "60-y.link" in root.found()[0]
    root.write("/run/systemd/network/55-z.link", "[Match]\nOriginalName=eth0\n")
    assert root.found() == ()
    root.write("/etc/systemd/network/55-z.link.d/more.conf", "[Link]\nTxChannels=1\n")
    assert "TxChannels" in root.found()[0]


def test_googles_agent(root: Root) -> None:
    root.run("google_guest_agent")
    assert root.found() == ()
    root.write("/usr/bin/google_set_multiqueue")
    (said,) = root.found("irq", "xps", "rps")
    assert "sets irq, xps of eth0" in said
    assert "set_multiqueue = false" in said
    assert root.found("rps") == ()
    assert root.found(nic=replace(NIC, driver="igb")) == ()
    root.write("/etc/default/instance_configs.cfg", "[InstanceSetup]\nset_multiqueue = false\n")
    assert root.found() == ()


def test_bpftune(root: Root) -> None:
    root.run("bpftune")
    assert "bpftune (pid 812, bpftune.service)" in root.found("rfs")[0]
    assert root.found("rps") == ()


def test_it_is_read_again_when_something_changed(root: Root) -> None:
    neighbours = Neighbours(root.files)
    kept = (Governed(NIC, ALL),)
    assert neighbours.look(kept, None) == ()
    root.run("irqbalance")
    assert neighbours.look(kept, None) == ()
    root.write("/run/systemd/units/invocation:irqbalance.service")
    (said,) = neighbours.look(kept, None)
    assert neighbours.conflicts == (said,)
    assert neighbours.look(kept, None) == ()
    assert neighbours.look(kept, "exclude") == ()
    assert not neighbours.conflicts
    root.run("bpftune", 813)
    neighbours.forget()
    assert len(neighbours.look(kept, "exclude")) == 1
    assert neighbours.look((), None) == ()
    assert not neighbours.conflicts


def test_what_is_no_configuration_is_nothing() -> None:
    assert parse_lines("\0\n[\n]\n=\n==\n[x\na=b\n; c=d\n[y]\n") == (
        (4, "", "", ""),
        (5, "", "", "="),
        (7, "", "a", "b"),
    )
