"""Values of match that no card can have, each told with what was meant."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from netuned.profiles.doubts import HEX, PCI, can_match, doubts
from netuned.profiles.loader import load_dropped


def said(key: str, value: str | Sequence[str]) -> list[str]:
    """What is doubtful about a value of ``match``, with its place."""
    text = f"match: {{{key}: {json.dumps(value, ensure_ascii=False)}}}"
    found = load_dropped({"/x.yaml": text.encode()}, ())
    assert found.refused == ()
    return [str(doubt) for loaded in found.profiles.profiles for doubt in doubts(loaded)]


@pytest.mark.parametrize(
    ("key", "value", "form"),
    [
        ("mac", "52-54-00-12-34-56", "52:54:00:12:34:56"),
        ("mac", "525400123456", "52:54:00:12:34:56"),
        ("mac", "5254:0012:3456", "52:54:00:12:34:56"),
        ("mac", "52:54:0:12:34:56", "52:54:00:12:34:56"),
        ("mac", "52:54:00", "52:54:00:*"),
        ("mac", "52-54-*", "52:54:00:*"),
        ("mac", "5254*", "52:54:00:*"),
        ("name", "eth0,eth1", "[eth0, eth1]"),
        ("name", "!eth0,eth1", "[eth0, eth1]"),
        ("name", "eth0 eth1", "[eth0, eth1]"),
        ("name", "eth0|eth1", "[eth0, eth1]"),
        ("name", "[eth0, eth1]", "no quotes around it"),
        ("name", "eth{0,1}", "[eth0, eth1]"),
        ("name", "eth{0..2}", "[eth0, eth1, eth2]"),
        ("name", "(eth0|eth1)", "[eth0, eth1]"),
        ("name", "^(en|eth).*", '["en*", "eth*"]'),
        ("name", "^eth[0-9]+$", '"eth[0-9]*"'),
        ("name", r"eth\d+", '"eth[0-9]*"'),
        ("name", "en.*", '"en*"'),
        ("name", "eth[^0]", '"eth[!0]"'),
        ("name", "eth[0-9", "never closed"),
        ("name", "“en*”", '"en*"'),
        ("name", "'eth0'", "eth0"),
        ("name", "{{ item.nic }}", "template"),
        ("name", "${NIC}", "template"),
        ("name", "<interface>", "template"),
        ("name", "eth%d", "template"),
        ("name", "veryveryveryverylonglonglongname", "32 bytes"),
        ("name", "éééééééé", "16 bytes"),
        ("name", "0123456789abcdef*", "16 bytes"),
        ("name", "veth0@if5", "write veth0"),
        ("name", "eth0:1", "write eth0"),
        ("name", "/sys/class/net/eth0", "write eth0"),
        ("name", "lo", "loopback"),
        ("name", "52:54:00:12:34:56", "write mac: 52:54:00:12:34:56"),
        ("name", "0000:41:00.0", "place on the PCI bus"),
        ("driver", "igb, ice", "[igb, ice]"),
        ("driver", "‘mlx5_core’", "mlx5_core"),
        ("driver", "igb.ko", "igb"),
        ("driver", "virtio-net", "virtio_net"),
        ("pci", "41:00", "four digits each"),
        ("pci", "15b3:101", "write 15b3:0101"),
        ("pci", "8086:15215", "8086:15*"),
        ("kind", "foo", "physical"),
        ("kind", "veth,bond", "[veth, bond]"),
        ("kind", "loopback", "alone"),
        ("name", ["eth0", "!eth*"], "excluded again"),
        ("speed", [">=10G", "<1G"], "no speed"),
        ("speed", ["10G", ">=25G"], "no speed"),
    ],
)
def test_what_no_card_can_have(key: str, value: str | Sequence[str], form: str) -> None:
    (doubt,) = said(key, value)
    place, _, problem = doubt.partition(": warning: ")
    assert place.startswith("/x.yaml:1:")
    assert place.endswith(f" match[0].{key}")
    assert (
        form in problem.partition("`: ")[2]
        or form in problem.rpartition(value[-1])[2]
        or (form in problem)
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mac", "52:54:00:12:34:56"),
        ("mac", "AA:BB:CC:*"),
        ("mac", "*:56"),
        ("mac", "[0-9]?:*"),
        ("mac", "0a:00:00:01"),
        ("mac", ":".join(["80"] * 20)),
        ("name", "en*"),
        ("name", "eth0.*"),
        ("name", "bond0.100"),
        ("name", "eth[0,1]"),
        ("name", "eth[!0]"),
        ("name", "enx525400123456"),
        ("name", "*"),
        ("name", ["en*", "!enp3s0"]),
        ("driver", "802.1Q VLAN Support"),
        ("driver", "mlx5_core"),
        ("pci", "8086:1521"),
        ("pci", "15b3:[0-9]*"),
        ("pci", "*"),
        ("kind", "v*"),
        ("speed", ["10G", "25G"]),
        ("speed", [">=10G", "<=10G"]),
    ],
)
def test_what_cards_have(key: str, value: str | Sequence[str]) -> None:
    assert said(key, value) == []


@pytest.mark.parametrize("key", ["irq: {cpus", "rps: {cpus", "xps: {cpus", "cpus: {app"])
@pytest.mark.parametrize(
    ("value", "number", "mask"),
    [("010", 10, "4"), ("03", 3, "0-1"), ("local & 030", 30, "4-5"), ("00", 0, "")],
)
def test_a_number_that_looks_like_a_mask(key: str, value: str, number: int, mask: str) -> None:
    found = load_dropped({"/x.yaml": f"{key}: {value}}}".encode()}, ())
    (doubt,) = [str(each) for one in found.profiles.profiles for each in doubts(one)]
    forms = f"CPUs {mask}: write {number}, or {mask}" if mask else f"no CPU at all: write {number}"
    assert doubt.endswith(f"is CPU {number}, and as a mask it would be {forms}")


@pytest.mark.parametrize("value", ["0", "10", "00-07", "0-3,08", "node:0", "'0-31:2/04'"])
def test_a_list_does_not(value: str) -> None:
    found = load_dropped({"/x.yaml": f"irq:\n  cpus: {value}".encode()}, ())
    assert found.refused == ()
    assert [each for one in found.profiles.profiles for each in doubts(one)] == []


def test_each_value_is_told_at_its_place() -> None:
    assert said("name", ["eth0", "eth1,eth2"]) == [
        "/x.yaml:1:24: match[0].name: warning: `eth1,eth2` is one pattern; "
        "several are a list: [eth1, eth2]"
    ]


def test_patterns_of_a_form() -> None:
    assert can_match("*", PCI, (9,))
    assert can_match("8086:*", PCI, (9,))
    assert not can_match("8086:*:*", PCI, (9,))
    assert not can_match("8086", PCI, (9,))
    assert not can_match("[g-z]*", (HEX,), (1,))
