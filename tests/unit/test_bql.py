"""Byte queue limits: what a profile may say, files that say nothing, and queues that end."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from netuned.errors import KernelError
from netuned.profiles.profile import Profile
from netuned.tunables.bql import BQL, parse
from netuned.values import Number
from tests.unit.test_contract import MACHINE, card_of, opened, state_of, tune
from tests.unit.writable import WritableKernel

LIMITS = "/sys/class/net/en0/queues/tx-2/byte_queue_limits"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"max": 1000}, "1000 is not a whole number of bytes from 1500 to 1879048192"),
        ({"max": 5000, "min": "5K"}, "min is more than max"),
        ({"max": "3G"}, "is out of range"),
        ({"limit": 5}, "Unexpected keyword"),
    ],
)
def test_what_helps_nobody_is_a_mistake(said: dict[str, object], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        Profile.of({"name": "edge", "bql": said})


@pytest.mark.parametrize("content", [b"", b"\n", b"12", b"-1\n", b"max\n", b"1 2\n"])
def test_a_file_that_says_no_number_is_no_limit(content: bytes) -> None:
    with pytest.raises(KernelError, match="byte queue limit"):
        parse(content)


def test_limits_of_queues_that_end_are_put_back_before(tmp_path: Path) -> None:
    """They can be neither read nor set while a queue is closed, and stay: the next finds them."""
    kernel = WritableKernel(MACHINE.replace("queues: 4", "queues: 2"))
    before, card, baseline = state_of(kernel, BQL), card_of(kernel), opened(tmp_path / "b.json")
    kernel.open_queues(2, 4)
    card.refresh()
    assert tune(card, baseline, "bql").error is None
    assert state_of(kernel, BQL)["tx-3 max"] == Number(102400)
    assert tune(card, baseline, "channels").error is None
    assert state_of(kernel, BQL) == before
    kernel.open_queues(2, 4)
    assert set(state_of(kernel, BQL).values()) == set(before.values())


def test_what_a_profile_names_no_more_goes_back(tmp_path: Path) -> None:
    kernel = WritableKernel(MACHINE)
    kernel.files.write(f"{LIMITS}/limit_min", b"700")
    before, card, baseline = state_of(kernel, BQL), card_of(kernel), opened(tmp_path / "b.json")
    assert tune(card, baseline, "bql").error is None
    assert state_of(kernel, BQL)["tx-2 max"] == Number(102400)
    assert state_of(kernel, BQL)["tx-2 min"] == before["tx-2 min"] == Number(700)
    assert tune(card, baseline, "rps").error is None
    assert state_of(kernel, BQL) == before
    assert "bql" not in baseline.of(card.nic)
