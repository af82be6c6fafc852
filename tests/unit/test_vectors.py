"""Interrupt names of real drivers -> queues."""

from __future__ import annotations

import pytest

from netuned.vectors import Vector, parse_vectors


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({30: "eth0", 31: "eth0-TxRx-0", 32: "eth0-TxRx-1"}, ["rxtx-0=31", "rxtx-1=32"]),
        ({30: "eth0-rx-0", 31: "eth0-tx-0", 32: "eth0"}, ["rx-0=30", "tx-0=31"]),
        (
            {24: "virtio1-config", 25: "virtio1-input.0", 26: "virtio1-output.0"},
            ["rx-0=25", "tx-0=26"],
        ),
        ({40: "eth0-rxtx-0", 41: "eth0-rxtx-1", 42: "eth0-event-8"}, ["rxtx-0=40", "rxtx-1=41"]),
        (
            {50: "mlx5_async0@pci:0000:3b:00.0", 51: "mlx5_comp0@pci:0000:3b:00.0"},
            ["rxtx-0=51"],
        ),
        ({60: "i40e-eth0-TxRx-11", 61: "i40e-0000:18:00.0:misc"}, ["rxtx-11=60"]),
        ({60: "i40e-eth0-TxRx-1", 61: "i40e-0000:18:00.0:fdir-TxRx-0"}, ["rxtx-1=60"]),
        ({70: "ena-mgmnt@pci:0000:00:05.0", 71: "eth0-Tx-Rx-0"}, ["rxtx-0=71"]),
        (
            {26: "eth%d-ntfy-block.0", 27: "eth%d-ntfy-block.1", 58: "eth%d-mgmnt"},
            ["rx-0=27", "tx-0=26"],
        ),
        ({80: "eth0-0", 81: "eth0-1"}, ["rxtx-0=80", "rxtx-1=81"]),
        ({90: "eth0"}, ["rxtx-0=90"]),
        ({90: "iwlwifi: queue 1", 91: "iwlwifi: queue 2"}, []),
        ({}, []),
    ],
)
def test_names(names: dict[int, str], expected: list[str]) -> None:
    assert [f"{v.key}={v.irq}" for v in parse_vectors(names, "eth0")] == expected


def test_queues_sort_by_number() -> None:
    names = {100 + n: f"eth0-TxRx-{n}" for n in range(12)}
    assert [vector.queue for vector in parse_vectors(names, "eth0")] == list(range(12))
    assert parse_vectors(names, "eth0")[0] == Vector("rxtx", 0, 100)
