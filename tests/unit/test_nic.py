"""A card's facts, read while it is given another name."""

from __future__ import annotations

import errno

import pytest

from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.opening import read_ifindexes
from tests.unit.writable import WritableKernel

MACHINE = "cores: 2\ncards: [{name: en0, driver: igb}, {name: en1, driver: igb}]\n"


def test_one_whose_name_another_has_meanwhile_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would be taken for the other, which is not paused, or for none."""
    kernel = WritableKernel(MACHINE)
    inodes = iter([5, 6, 5, 5])
    monkeypatch.setattr(kernel.files, "inode", lambda path: next(inodes))
    assert read_nic(kernel, 2, "en0").instance == 5
    assert next(inodes, None) is None


def test_a_name_from_before_is_looked_up() -> None:
    nic = read_nic(WritableKernel(MACHINE), 3, "en0")
    assert (nic.name, nic.ifindex) == ("en1", 3)


def test_one_that_left_is_gone() -> None:
    with pytest.raises(KernelError) as caught:
        read_nic(WritableKernel(MACHINE), 9, "en0")
    assert caught.value.gone
    assert caught.value.errno == errno.ENXIO


def test_a_card_that_cannot_be_looked_for_has_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is expected, and its name is another's by now; no descriptor is left to find it."""
    kernel = WritableKernel(MACHINE)
    assert read_ifindexes(kernel, {"en0"}, {2: "en0", 9: "en9"}) == {3: "en1", 2: "en0"}

    def fail(path: str) -> None:
        raise KernelError("open", path, errno.EMFILE)

    monkeypatch.setattr(kernel.files, "at", fail)
    with pytest.raises(KernelError, match="EMFILE"):
        read_ifindexes(kernel, {"en0"}, {2: "en0"})
