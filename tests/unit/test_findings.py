"""Which findings of the doctor's a test makes happen, and why not the others."""

from __future__ import annotations

from bench.findings import DESCRIBED_ALONE
from tests.netns import test_doctor as running
from tests.unit import test_doctor as described
from tests.vm import test_doctor as booted


def test_what_no_test_makes_happen_has_a_reason() -> None:
    made = {name for name, *_ in described.MADE}
    assert DESCRIBED_ALONE.keys() == made - {*running.NAMES, *booted.NAMES}
    assert {*running.NAMES, *booted.NAMES} <= made
