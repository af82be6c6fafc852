"""Interrupt names of real drivers -> queues.

The names are the format strings of the drivers' request_irq calls, in the files named beside them
(below drivers/net/ethernet in torvalds/linux, but for those that say so).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from netuned.hardware.interrupts import carrying
from netuned.hardware.vectors import COMBINED, RX, TX, Vector, merge_vectors, parse_vectors

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"


def shown(vectors: tuple[Vector, ...]) -> list[str]:
    return [f"{vector.key}={vector.irq}" for vector in vectors]


@pytest.mark.parametrize(
    ("driver", "names", "expected"),
    [
        # intel/igb/igb_main.c, igb_request_msix; intel/igc likewise
        ("igb", ["eth0", "eth0-TxRx-0", "eth0-TxRx-1"], ["rxtx-0=31", "rxtx-1=32"]),
        ("igb", ["eth0", "eth0-rx-0", "eth0-tx-0"], ["rx-0=31", "tx-0=32"]),
        ("igb", ["eth0"], ["rxtx-0=30"]),
        # intel/ixgbe/ixgbe_main.c, ixgbe_request_msix_irqs: the bare name, old ones eth0:lsc
        ("ixgbe", ["eth0-TxRx-0", "eth0-TxRx-1", "eth0:lsc"], ["rxtx-0=30", "rxtx-1=31"]),
        # intel/i40e/i40e_main.c, i40e_vsi_request_irq_msix; :misc and :fdir are control
        (
            "i40e",
            ["i40e-0000:18:00.0:misc", "i40e-eth0-TxRx-0", "i40e-0000:18:00.0:fdir-TxRx-0"],
            ["rxtx-0=31"],
        ),
        ("i40e", ["i40e-eth0-rx-0", "i40e-eth0-tx-0"], ["rx-0=30", "tx-0=31"]),
        # intel/ice/ice_main.c, ice_vsi_req_irq_msix; infiniband/hw/irdma/hw.c
        (
            "ice",
            ["ice-0000:3b:00.0:misc", "ice-eth0-TxRx-0", "irdma-ice-AEQ", "irdma-ice-CEQ-0"],
            ["rxtx-0=31"],
        ),
        # intel/iavf/iavf_main.c, iavf_request_traffic_irqs
        ("iavf", ["iavf-0000:18:02.0:mbx", "iavf-eth0-TxRx-0"], ["rxtx-0=31"]),
        # intel/idpf/idpf_txrx.c, idpf_vport_intr_req_irq; idpf_lib.c, idpf_mb_intr_init
        ("idpf", ["idpf-Mailbox-0", "idpf-eth0-TxRx-0"], ["rxtx-0=31"]),
        ("idpf", ["idpf-Mailbox-0"], []),
        # Numbered by the device's vector: its mailbox has 0, another virtual port 1 and 2; one
        # serves no queue. As shown in "idpf: change IRQ naming to match netdev and ethtool queue
        # numbering", before and after: "ethtool -L eth1 tx 1 combined 3"
        (
            "idpf",
            ["idpf-Mailbox-0", "idpf-eth0-TxRx-3", "idpf-eth0-TxRx-4"],
            ["rxtx-0=31", "rxtx-1=32"],
        ),
        (
            "idpf",
            [
                *("idpf-Mailbox-0", "idpf-eth0-TxRx-1", "idpf-eth0-TxRx-3", "idpf-eth0-TxRx-4"),
                "idpf-eth0-Tx-5",
            ],
            ["rxtx-0=31", "rxtx-1=32", "rxtx-2=33", "tx-3=34"],
        ),
        (
            "idpf",
            [
                *("idpf-Mailbox-0", "idpf-eth0-TxRx-0", "idpf-eth0-TxRx-1", "idpf-eth0-TxRx-2"),
                "idpf-eth0-Tx-3",
            ],
            ["rxtx-0=31", "rxtx-1=32", "rxtx-2=33", "tx-3=34"],
        ),
        # infiniband/hw/bnxt_re/qplib_fp.c: RDMA's, while the card itself is down
        ("bnxt_en", ["bnxt_qplib_creq", "bnxt_qplib_nq-0", "bnxt_qplib_nq-1"], []),
        # intel/ixgbevf/ixgbevf_main.c, intel/fm10k/fm10k_pci.c
        ("ixgbevf", ["eth0-TxRx-0", "eth0"], ["rxtx-0=30"]),
        # intel/e1000e/netdev.c, e1000_request_msix
        ("e1000e", ["eth0-rx-0", "eth0-tx-0", "eth0"], ["rx-0=30", "tx-0=31"]),
        # mellanox/mlx4/eq.c, mlx4_assign_eq: event queue 0 is the asynchronous one, and up to 4.1
        (
            "mlx4_core",
            ["mlx4-async@pci:0000:07:00.0", "mlx4-1@0000:07:00.0", "mlx4-2@0000:07:00.0"],
            ["rxtx-0=31", "rxtx-1=32"],
        ),
        (
            "mlx4_core",
            ["mlx4-comp-0@pci:0000:07:00.0", "mlx4-async@pci:0000:07:00.0", "eth0-0", "eth0-1"],
            ["rxtx-0=32", "rxtx-1=33"],
        ),
        (
            "mlx4_core",
            ["mlx4-comp-0@pci:0000:07:00.0", "mlx4-async@pci:0000:07:00.0"],
            ["rxtx-0=30"],
        ),
        # mellanox/mlx5/core/pci_irq.c, irq_set_name, and before 5.14 eq.c
        (
            "mlx5_core",
            ["mlx5_async0@pci:0000:01:00.0", "mlx5_comp0@pci:0000:01:00.0", "mlx5_comp11@pci:0"],
            ["rxtx-0=31", "rxtx-11=32"],
        ),
        (
            "mlx5_core",
            ["mlx5_pages_eq@pci:0000:01:00.0", "mlx5_cmd_eq@pci:0000:01:00.0", "mlx5_comp0"],
            ["rxtx-0=32"],
        ),
        (  # between 3354822cde5a and its fix they begin at 1
            "mlx5_core",
            ["mlx5_async0@pci:0000:01:00.0", "mlx5_comp1@pci:0000:01:00.0", "mlx5_comp2@pci:0"],
            ["rxtx-0=31", "rxtx-1=32"],
        ),
        (  # those of a subfunction, on the same device
            "mlx5_core",
            ["mlx5_comp0@pci:0000:01:00.0", "mlx5_sf_comp0@pci:0000:01:00.0"],
            ["rxtx-0=30"],
        ),
        # broadcom/bnxt/bnxt.c, bnxt_setup_msix: numbers all rings, so transmit ones come after
        ("bnxt_en", ["eth0-TxRx-0", "eth0-TxRx-1"], ["rxtx-0=30", "rxtx-1=31"]),
        (
            "bnxt_en",
            ["eth0-rx-0", "eth0-rx-1", "eth0-tx-2", "eth0-tx-3"],
            ["rx-0=30", "rx-1=31", "tx-0=32", "tx-1=33"],
        ),
        # broadcom/bnx2x/bnx2x_cmn.c, bnx2x_req_msix_irqs; qlogic/qede/qede_main.c
        ("bnx2x", ["eth0-sp", "eth0-fp-0", "eth0-fp-3"], ["rxtx-0=31", "rxtx-3=32"]),
        ("bnx2x", ["eth0", "eth0-fp-0"], ["rxtx-0=31"]),
        # broadcom/bnx2.c, bnx2_setup_int_mode
        ("bnx2", ["eth0-0", "eth0-1"], ["rxtx-0=30", "rxtx-1=31"]),
        # broadcom/tg3.c, tg3_request_irq: vector 0 has the link, and transmits unless TSS is on
        ("tg3", ["eth0"], ["rxtx-0=30"]),
        (
            "tg3",
            ["eth0-tx-0", "eth0-rx-1", "eth0-rx-2"],
            ["rx-0=31", "rx-1=32", "tx-0=30"],
        ),
        (
            "tg3",
            ["eth0-0", "eth0-txrx-1", "eth0-txrx-2", "eth0-rx-3"],
            ["rx-2=33", "rxtx-0=31", "rxtx-1=32"],
        ),
        # amazon/ena/ena_netdev.c, ena_setup_mgmnt_intr, ena_setup_io_intr
        ("ena", ["ena-mgmnt@pci:0000:00:05.0", "eth0-Tx-Rx-0"], ["rxtx-0=31"]),
        # google/gve/gve_main.c, gve_alloc_notify_blocks, since 6.5 and before
        (
            "gve",
            [f"gve-ntfy-blk{n}@pci:0000:00:04.0" for n in range(4)] + ["gve-mgmnt@pci:0"],
            ["rx-0=32", "rx-1=33", "tx-0=30", "tx-1=31"],
        ),
        (
            "gve",
            [f"eth%d-ntfy-block.{n}" for n in range(4)] + ["eth%d-mgmnt"],
            ["rx-0=32", "rx-1=33", "tx-0=30", "tx-1=31"],
        ),
        # drivers/virtio/virtio_pci_common.c, vp_find_vqs_msix; virtio_net.c names the queues
        (
            "virtio_net",
            ["virtio1-config", "virtio1-input.0", "virtio1-output.0"],
            ["rx-0=31", "tx-0=32"],
        ),
        ("virtio_net", ["virtio1-config", "virtio1-virtqueues"], ["rxtx-0=31"]),
        ("virtio_net", ["virtio1"], ["rxtx-0=30"]),
        # drivers/net/vmxnet3/vmxnet3_drv.c, vmxnet3_request_irqs: numbers vectors
        ("vmxnet3", ["eth0-rxtx-0", "eth0-rxtx-1", "eth0-event-2"], ["rxtx-0=30", "rxtx-1=31"]),
        (
            "vmxnet3",
            ["eth0-tx-0", "eth0-tx-1", "eth0-rx-2", "eth0-rx-3", "eth0-event-4"],
            ["rx-0=32", "rx-1=33", "tx-0=30", "tx-1=31"],
        ),
        # microsoft/mana/gdma_main.c, mana_gd_setup_irqs
        ("mana", ["mana_hwc@pci:7870:00:00.0", "mana_q0@pci:7870:00:00.0"], ["rxtx-0=31"]),
        ("mana", ["mana_hwc@pci:7870:00:00.0", "mana_msi1@pci:7870:00:00.0"], ["rxtx-0=31"]),
        # the same with other buses: mana_msi%d@%s:%s
        ("mana", ["mana_hwc@vmbus:x", "mana_msi1@vmbus:x", "mana_msi2@vmbus:x"],
         ["rxtx-0=31", "rxtx-1=32"]),
        # realtek/r8169_main.c, rtl_open
        ("r8169", ["eth0"], ["rxtx-0=30"]),
        # netronome/nfp/nfp_net_common.c, nfp_net_prepare_vector, nfp_net_aux_irq_request
        ("nfp", ["eth0-lsc", "eth0-exn", "eth0-rxtx-0"], ["rxtx-0=32"]),
        # qlogic/qlcnic/qlcnic_main.c, qlcnic_request_irq: the last one serves both
        ("qlcnic", ["eth0-rx-0", "eth0-rx-1", "eth0-tx-0-rx-2"], ["rx-0=30", "rx-1=31", "rx-2=32"]),
        # emulex/benet/be_main.c; chelsio/cxgb4; sfc/efx_channels.c; stmicro/stmmac; huawei/hinic
        ("be2net", ["eth0-q0", "eth0-q1"], ["rxtx-0=30", "rxtx-1=31"]),
        ("cxgb4", ["eth0-FWeventq", "eth0-Rx0", "eth0-Rx1"], ["rx-0=31", "rx-1=32"]),
        ("sfc", ["eth0-0", "eth0-1", "eth0-ptp"], ["rxtx-0=30", "rxtx-1=31"]),
        ("stmmac", ["eth0:mac", "eth0:rx-0", "eth0:tx-0"], ["rx-0=31", "tx-0=32"]),
        ("hinic", ["eth0_rxq0", "eth0_txq0"], ["rx-0=30", "tx-0=31"]),
        # only control vectors are there: the card is down
        ("mlx5_core", ["mlx5_async0@pci:0000:01:00.0"], []),
        ("virtio_net", ["virtio1-config"], []),
        ("ena", ["ena-mgmnt@pci:0000:00:05.0"], []),
        ("iwlwifi", ["iwlwifi: queue 1", "iwlwifi: queue 2"], []),
        ("igb", [], []),
    ],
)  # fmt: skip
def test_a_drivers_names(driver: str, names: list[str], expected: list[str]) -> None:
    numbered = dict(enumerate(names, 30))
    for now in ("eth0", "ens1f0", "eth7"):  # a renamed card's interrupts are called as it was
        assert shown(parse_vectors(numbered, now, driver, own_name="virtio1")) == expected


@pytest.mark.parametrize(
    ("names", "queues", "expected"),
    [
        # aquantia/atlantic/aq_pci_func.c, aq_pci_func_alloc_irq; the link's comes last
        (["eth0"] * 5, 4, ["rxtx-0=30", "rxtx-1=31", "rxtx-2=32", "rxtx-3=33"]),
        (["eth0"] * 4, 4, ["rxtx-0=30", "rxtx-1=31", "rxtx-2=32", "rxtx-3=33"]),
        (["eth0"] * 2, 1, ["rxtx-0=30"]),
        (["eth0"], 1, ["rxtx-0=30"]),
        (["ahci", "ahci"], 2, []),
    ],
)
def test_a_driver_that_gives_all_one_name(
    names: list[str], queues: int, expected: list[str]
) -> None:
    numbered = dict(enumerate(names, 30))
    for now in ("eth0", "enp1s0", "eth7"):
        assert shown(parse_vectors(numbered, now, "atlantic", queues=queues)) == expected
        first = [f"rxtx-0={30}"] if expected else []
        assert shown(parse_vectors(numbered, now, "other", queues=queues)) == first


@pytest.mark.parametrize(
    ("ifname", "names", "expected"),
    [
        # broadcom/bnxt/bnxt.h before BNXT_IRQ_NAME_EXTRA: char name[IFNAMSIZ + 2]
        ("enp4s0f0np0", ["-TxRx-"] * 2, ["rxtx-0=30", "rxtx-1=31"]),
        ("enp193s0f0np0", ["-TxR"] * 3, ["rxtx-0=30", "rxtx-1=31", "rxtx-2=32"]),
        ("enp193s0f0np0", ["-rx-", "-rx-", "-tx-"], ["rx-0=30", "rx-1=31", "tx-0=32"]),
        (
            "enp129s0f0",
            [*(f"-TxRx-{n}" for n in range(10)), "-TxRx-1", "-TxRx-1"],
            [f"rxtx-{n}={30 + n}" for n in range(12)],
        ),
        ("enp129s0f0", ["-TxRx-1", "-TxRx-0"], ["rxtx-0=31", "rxtx-1=30"]),
        ("a-name-of-15-by", ["-T"] * 2, ["rxtx-0=30", "rxtx-1=31"]),
        ("eno1np0", ["-TxRx-1", "-TxRx-0"], ["rxtx-0=31", "rxtx-1=30"]),
    ],
)  # fmt: skip
def test_names_that_a_driver_cut_off_go_by_their_order(
    ifname: str, names: list[str], expected: list[str]
) -> None:
    numbered = {30 + n: f"{ifname}{name}" for n, name in enumerate(names)}
    assert all(len(name) <= 17 for name in numbered.values())
    assert shown(parse_vectors(numbered, ifname, "bnxt_en")) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["eth0-TxRx-0", "eth0-TxRx-1", "eth0"], ["rxtx-0=30", "rxtx-1=31"]),
        (["eth0-0", "eth0-1"], ["rxtx-0=30", "rxtx-1=31"]),
        (["i40e-eth0-TxRx-0", "i40e-0000:01:00.0:misc"], ["rxtx-0=30"]),
        (["eth0"], ["rxtx-0=30"]),
        (["eth0-event-4", "eth0-rxtx-0"], ["rxtx-0=31"]),
        (["mlx4-comp-0@pci:0000:07:00.0", "eth0-0", "eth0-1"], ["rxtx-0=31", "rxtx-1=32"]),
    ],
)
def test_a_renamed_card_keeps_the_names_of_its_interrupts(
    names: list[str], expected: list[str]
) -> None:
    assert shown(parse_vectors(dict(enumerate(names, 30)), "ens1f0")) == expected


def test_a_card_may_be_called_like_a_control_vector() -> None:
    names = dict(enumerate(["mgmt", "mgmt-TxRx-0", "mgmt-TxRx-1"], 30))
    assert shown(parse_vectors(names, "mgmt")) == ["rxtx-0=31", "rxtx-1=32"]
    assert shown(parse_vectors({30: "ice-link-TxRx-0"}, "link")) == ["rxtx-0=30"]
    assert shown(parse_vectors({30: "mgmt"}, "mgmt")) == ["rxtx-0=30"]


def test_ports_of_one_device_take_their_own_interrupts_each() -> None:
    names = dict(enumerate(["mlx4-async@pci:0", "eth2-0", "eth2-1", "eth3-0", "eth3-1"], 60))
    ports = ("eth2", "eth3")
    assert shown(parse_vectors(names, "eth2", ports=ports)) == ["rxtx-0=61", "rxtx-1=62"]
    assert shown(parse_vectors(names, "eth3", ports=ports)) == ["rxtx-0=63", "rxtx-1=64"]
    for renamed in (("p0", "eth3"), ("p0", "p1"), ("eth2", "p1")):
        first, second = renamed
        assert shown(parse_vectors(names, first, ports=renamed)) == ["rxtx-0=61", "rxtx-1=62"]
        assert shown(parse_vectors(names, second, ports=renamed)) == ["rxtx-0=63", "rxtx-1=64"]


def test_what_all_ports_share_is_the_firsts() -> None:
    names = {40: "mana_hwc@pci:7870:00:00.0", 41: "mana_q0@pci:7870:00:00.0"}
    assert shown(parse_vectors(names, "eth1", ports=("eth1", "eth2"))) == ["rxtx-0=41"]
    assert parse_vectors(names, "eth2", ports=("eth1", "eth2")) == ()


def test_a_line_that_devices_share_is_the_first_ones() -> None:
    cards = ("eth0", "eth1", "lo")
    for line in ("eth0,eth1", "uhci_hcd:usb1,eth0,eth1"):
        assert shown(parse_vectors({11: line}, "eth0", cards=cards)) == ["rxtx-0=11"]
        assert parse_vectors({11: line}, "eth1", cards=cards) == ()
    assert parse_vectors({11: "ahci,old0"}, "eth0", cards=cards) == ()
    virtio = {10: "virtio1,virtio2"}
    assert shown(parse_vectors(virtio, "ens3", own_name="virtio1")) == ["rxtx-0=10"]
    assert parse_vectors(virtio, "ens4", own_name="virtio2") == ()


def test_queues_sort_by_number() -> None:
    names = {100 + n: f"eth0-TxRx-{n}" for n in range(12)}
    assert [vector.queue for vector in parse_vectors(names, "eth0")] == list(range(12))
    assert parse_vectors(names, "eth0")[0] == Vector("rxtx", 0, 100)


def test_what_the_kernel_tells_goes_before_names() -> None:
    by_name = (Vector(COMBINED, 0, 31), Vector(COMBINED, 1, 32), Vector(COMBINED, 2, 33))
    assert merge_vectors({}, by_name) == by_name
    told = {(RX, 0): 31, (TX, 0): 31, (RX, 1): 34, (TX, 1): 34}
    assert shown(merge_vectors(told, by_name)) == ["rxtx-0=31", "rxtx-1=34", "rxtx-2=33"]
    assert shown(merge_vectors({(RX, 1): 34}, by_name)) == [
        *("rx-1=34", "rxtx-0=31", "rxtx-2=33", "tx-1=32"),
    ]
    assert shown(merge_vectors({(RX, 0): 32, (TX, 0): 32}, by_name)) == ["rxtx-0=32", "rxtx-2=33"]


def test_of_a_queues_two_interrupts_the_kernel_may_tell_one() -> None:
    # e1000e, since it links its NAPI: one for both ways, by the receive interrupt
    by_name = (Vector(RX, 0, 31), Vector(TX, 0, 32))
    assert merge_vectors({(RX, 0): 31, (TX, 0): 31}, by_name) == by_name
    by_name = (Vector(RX, 0, 32), Vector(TX, 0, 33))
    assert shown(merge_vectors({(RX, 0): 31, (TX, 0): 31}, by_name)) == ["rx-0=32", "tx-0=31"]


def test_an_interrupt_of_several_queues_is_placed_once() -> None:
    told = {(RX, 0): 31, (RX, 1): 32, (TX, 0): 31, (TX, 1): 32, (TX, 2): 31, (TX, 3): 32}
    assert shown(merge_vectors(told, ())) == ["rxtx-0=31", "rxtx-1=32"]


# Real machines


def _fixture(name: str) -> Path:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"{path} is not there: the facts of real machines are kept beside the project")
    return path


def test_collected_names() -> None:
    facts = json.loads(_fixture("facts/irq_names.json").read_text())
    for case in facts["cases"]:
        names = {int(irq): line.split(None, 2)[2] for irq, line in case["proc_interrupts"].items()}
        names = {irq: name.removeprefix("Edge").strip() for irq, name in names.items()}
        found = {vector.irq: vector.queue for vector in parse_vectors(names, "eth0", own_name="x")}
        wanted = {row["irq"]: row["queue"] for row in case["want"] if row["queue"] is not None}
        assert found == wanted, case["name"]
    for case in facts["names"]:
        names = {0: case["line"]}
        if blocks := case.get("fast_path_irqs"):
            stem, _, number = case["line"].rpartition(".")
            first = int(number) if int(number) >= blocks else 0
            names = {n - int(number): f"{stem}.{n}" for n in range(first, first + blocks)}
        found = {vector.irq: vector.queue for vector in parse_vectors(names, "eth0")}
        assert found.get(0) == case["queue"], case


def test_collected_queues() -> None:
    facts = json.loads(_fixture("facts/mask_cases.json").read_text())
    for case in facts["queue2irq"]:
        names = {int(irq): name for irq, name in case["names"].items()}
        vectors = parse_vectors(names, case["nic"])
        for queue, irq in case["want"].items():
            assert any(v.irq == irq and v.queue == int(queue) for v in vectors), case
        assert len(vectors) == sum(name != "other-device" for name in names.values())


HOSTS = pytest.mark.parametrize(
    ("host", "queues"),
    [
        (
            "1xE3-1271.I217_and_X710.L2_mixed.masterconf",
            {"eth0": (4, ""), "eth2": (1, ""), "eth3": (4, "")},
        ),
        (
            "2xE5-2640.i350_and_82599ES.l2_mixed.masterconf",
            {"eth0": (8, ""), "eth1": (8, ""), **{f"eth{n}": (32, "") for n in (2, 4, 5)}},
        ),
        ("2xE5-2687W.2xQLogic.L3_manual", {"eth0": (4, ""), "eth1": (4, "")}),
        (
            "2xX5650.BCM5709_and_MT27520.L2.manual",
            {"eth0": (8, ""), "eth1": (8, ""), "eth2": (8, "mlx4")},
        ),
        ("kvm.l3.masterconf", {"eth0": (1, ""), "eth1": (0, "")}),
    ],
)


def _interrupts(host: str) -> dict[int, str]:
    lines = _fixture(f"hosts/{host}/interrupts").read_text().splitlines()
    cpus = len(lines[0].split())
    names = {}
    for line in lines[1:]:
        number, *fields = line.split()
        if number[:-1].isdigit():  # counts, the chip with its type, the names
            names[int(number[:-1])] = "".join(fields[cpus + 1 :])
    return names


@HOSTS
def test_whole_machines(host: str, queues: dict[str, tuple[int, str]]) -> None:
    names = _interrupts(host)
    for ifname, (count, word) in queues.items():
        of_card = {
            irq: name
            for irq, name in names.items()
            if re.search(rf"\b{ifname}\b", name) or (word and name.startswith(word))
        }
        vectors = parse_vectors(of_card, ifname, cards=queues)
        assert [vector.queue for vector in vectors] == list(range(count)), (ifname, of_card)
        if not any(
            "," in name for name in of_card.values()
        ):  # whose a shared line is shows no more
            assert parse_vectors(of_card, "ens9", cards=["ens9"]) == vectors, "renamed"


@HOSTS
def test_a_card_finds_its_own_among_a_whole_machines(
    host: str, queues: dict[str, tuple[int, str]]
) -> None:
    """As if the machine's cards were on no bus that lists interrupts."""
    names = _interrupts(host)
    for ifname, (count, word) in queues.items():
        found = carrying(names, (ifname,))
        assert {irq for irq, name in names.items() if re.search(rf"\b{ifname}\b", name)} == set(
            found
        )
        if not word and found:
            vectors = parse_vectors(found, ifname, cards=queues)
            assert [vector.queue for vector in vectors] == list(range(count))
    assert carrying(names, ("end0", "fe300000.ethernet")) == {}
