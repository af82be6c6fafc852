"""Interrupts of cards that are not on PCI: told by the kernel, or found by name among all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.interrupts import interrupt_owner
from netuned.hardware.nic import Nic, why_no_vectors
from netuned.kernel.files import Files, FileTree
from netuned.kernel.questions import NAPI_INTERRUPTS
from netuned.kernel.recorded import Link
from tests.unit.writable import CLASS_NET, WritableKernel

XEN = [f"eth0-q{queue}-{way}" for queue in range(2) for way in ("tx", "rx")]
BOARD = ["arch_timer", "mmc0", "xhci-hcd:usb1", "fe300000.mmc", "eth", "ether1", "teth0"]


def board(
    *cards: str,
    names: list[str],
    driver: str = "st_gmac",
    usb: str = "",
    on_pci: str = "",
) -> WritableKernel:
    """Cards of two queues on no bus that lists interrupts; all interrupts from 30 on by name.

    The card ``on_pci`` lists the last four.
    """
    described = (f"{{name: {name}, driver: igb, queues: 2}}" for name in cards)
    kernel = WritableKernel(f"cores: 4\ncards: [{', '.join(described)}]\n")
    kernel.tree.add_directory("/sys/kernel/irq").clear()
    for irq, name in enumerate(names, 30):
        kernel.put(f"/sys/kernel/irq/{irq}/actions", f"{name}\n".encode())
        kernel.put(f"/proc/irq/{irq}/smp_affinity", b"f\n")
    for name in cards:
        path = kernel.files.resolve(f"{CLASS_NET}/{name}/device")
        device = kernel.tree.add_directory(path)
        kernel.tree.add_directory(f"{path}/msi_irqs").clear()
        if name == on_pci:
            for irq in range(26 + len(names), 30 + len(names)):
                kernel.put(f"{path}/msi_irqs/{irq}", b"msix\n")
            continue
        for entry in ("msi_irqs", "irq", "vendor", "driver"):
            device.pop(entry, None)
        device["driver"] = Link(f"/sys/bus/platform/drivers/{driver}")
        device["subsystem"] = Link(f"/sys/bus/{'usb' if name == usb else 'platform'}")
    return kernel


def found(kernel: WritableKernel, name: str = "eth0") -> list[str]:
    nic = read(kernel, name)
    return [f"{vector.key}={vector.irq}" for vector in nic.vectors]


def read(kernel: WritableKernel, name: str) -> Nic:
    return read_nic(kernel, kernel.files.read_int(f"{CLASS_NET}/{name}/ifindex", 0), name)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # below drivers/net: xen-netfront.c, setup_netfront_split
        (XEN, ["rx-0=31", "rx-1=33", "tx-0=30", "tx-1=32"]),
        # ethernet/stmicro/stmmac/stmmac_main.c, stmmac_request_irq_multi_msi
        (
            ["eth0:mac", "eth0:wol", "eth0:rx-0", "eth0:rx-1", "eth0:tx-0", "eth0:tx-1"],
            ["rx-0=32", "rx-1=33", "tx-0=34", "tx-1=35"],
        ),
        # ethernet/freescale/gianfar.c, register_grp_irqs, with groups and without
        (
            ["eth0_g0_tx", "eth0_g0_rx", "eth0_g0_er", "eth0_g1_tx", "eth0_g1_rx", "eth0_g1_er"],
            ["rx-0=31", "rx-1=34", "tx-0=30", "tx-1=33"],
        ),
        (["eth0_tx", "eth0_rx", "eth0_er"], ["rx-0=31", "tx-0=30"]),
        # stmmac_main.c, stmmac_request_irq_single: what wakes and what tells of low power follow
        (["eth0", "eth0", "eth0"], ["rxtx-0=30"]),
        (["eth0"], ["rxtx-0=30"]),
        (["mmc1,eth0"], ["rxtx-0=30"]),
    ],
)  # fmt: skip
def test_those_with_the_cards_name_are_its_own(names: list[str], expected: list[str]) -> None:
    kernel = board("eth0", names=[*names, *BOARD])
    assert found(kernel) == expected
    assert set(read(kernel, "eth0").interrupts) == {30 + n for n in range(len(names))}


@pytest.mark.parametrize("driver", ["vif", "macb"])
@pytest.mark.parametrize("called", ["eth0", "enX0"])
def test_of_some_drivers_all_have_one_name(driver: str, called: str) -> None:
    """xen-netfront.c, setup_netfront_single; ethernet/cadence/macb_main.c, macb_probe."""
    kernel = board(called, names=["eth0", "eth0", "eth0", "mmc0"], driver=driver)
    assert found(kernel, called) == ["rxtx-0=30", "rxtx-1=31"]


@pytest.mark.parametrize("called", ["eth0", "end0"])
def test_of_one_the_second_is_that_of_queues_that_only_send(called: str) -> None:
    """ethernet/broadcom/genet/bcmgenet.c, bcmgenet_open, bcmgenet_isr1; bcmgenet_probe."""
    kernel = board(called, names=["mmc0", "eth0", "eth0", "eth0"], driver="bcmgenet")
    assert found(kernel, called) == ["rxtx-0=31", "tx-1=32"]


def test_those_with_the_devices_name_are_its_own_but_not_its_phys() -> None:
    """ethernet/freescale/fec_main.c; phylib names a PHY's after bus and address."""
    kernel = board("end0", names=BOARD)
    own = kernel.files.resolve(f"{CLASS_NET}/end0/device").rpartition("/")[2]
    for irq, name in ((50, f"{own}-1:00"), (51, own)):
        kernel.put(f"/sys/kernel/irq/{irq}/actions", name.encode())
    assert found(kernel, "end0") == ["rxtx-0=51"]


def test_the_kernels_word_goes_before_names() -> None:
    kernel = board("end0", names=[*BOARD, "dma3", "dma4", ""])
    told = {("rx", 0): 37, ("tx", 0): 37, ("rx", 1): 38, ("tx", 1): 38, ("rx", 2): 39}
    kernel.answers.cards(NAPI_INTERRUPTS)[2] = told
    assert found(kernel, "end0") == ["rxtx-0=37", "rxtx-1=38"], "39 has no handler"
    assert read(kernel, "end0").interrupts == (37, 38)


@pytest.mark.parametrize("new", ["enX0", "end0", "lan"])
def test_a_renamed_cards_are_called_as_it_was(new: str) -> None:
    assert found(board(new, names=[*XEN, *BOARD]), new) == [
        *("rx-0=31", "rx-1=33", "tx-0=30", "tx-1=32")
    ]


def test_several_renamed_cards_are_told_apart_by_the_order_they_came_in() -> None:
    others = [name.replace("eth0", "eth1") for name in XEN]
    kernel = board("enX0", "enX1", names=[*others, *XEN])
    assert found(kernel, "enX0") == ["rx-0=35", "rx-1=37", "tx-0=34", "tx-1=36"]
    assert found(kernel, "enX1") == ["rx-0=31", "rx-1=33", "tx-0=30", "tx-1=32"]


def test_a_card_on_usb_is_none_of_them() -> None:
    kernel = board("enx0", "end0", names=[*XEN, *BOARD], usb="enx0")
    assert found(kernel, "end0") == ["rx-0=31", "rx-1=33", "tx-0=30", "tx-1=32"]
    assert found(kernel, "enx0") == []


@pytest.mark.parametrize("other", ["eth1", "eth0"])
def test_what_a_pci_card_lists_is_no_others(other: str) -> None:
    """Whatever it is called: the PCI card was eth0 before, and the board's card is that now."""
    kernel = board(other, "ens1", names=[*BOARD, *XEN], on_pci="ens1")
    assert found(kernel, "ens1") == ["rx-0=38", "rx-1=40", "tx-0=37", "tx-1=39"]
    assert found(kernel, other) == []


@pytest.mark.parametrize(("bus", "owner"), [("pci", "/0000:02:01.0"), ("virtio", "")])
def test_of_what_a_pci_card_is_below_it_has_no_interrupts(
    tmp_path: Path, bus: str, owner: str
) -> None:
    bridge = "/sys/devices/pci0000:00/0000:00:11.0"
    card = tmp_path / f"{bridge[1:]}/0000:02:01.0"
    for path in (card, tmp_path / "sys/bus" / bus, tmp_path / "sys/class/net/eth0"):
        path.mkdir(parents=True)
    for name in ("vendor", "irq"):
        (card / name).write_text("9\n")
        (card.parent / name).write_text("8\n")
    (card / "subsystem").symlink_to(tmp_path / "sys/bus" / bus)
    (tmp_path / "sys/class/net/eth0/device").symlink_to(card)
    files = Files(str(tmp_path))
    assert interrupt_owner(files, files.at("/sys/class/net/eth0")) == bridge + owner


def test_where_it_cannot_be_told_it_is_not_guessed_and_said() -> None:
    kernel = board("enX0", "enX1", names=XEN)
    nic = read(kernel, "enX0")
    assert nic.vectors == ()
    assert why_no_vectors(nic).startswith("neither the kernel nor a name tells")


def test_what_stands_among_the_cards_and_is_none_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """/sys/class/net/bonding_masters is a file, where bonding is loaded."""
    kernel = board("eth0", names=XEN)
    before = found(kernel)
    kernel.put(f"{CLASS_NET}/bonding_masters", b"bond0\n")
    at = kernel.files.at

    def opened(path: str) -> FileTree:
        if path.endswith("bonding_masters"):
            raise KernelError("open", path, errno.ENOTDIR)
        return at(path)

    monkeypatch.setattr(kernel.files, "at", opened)
    assert found(kernel) == before != []
