"""Features of a profile that do not go together are mistakes, with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from netuned.profiles.loader import check


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{rx-gro-hw: on, lro: on}", "rx-gro-hw and lro exclude each other; turn one off"),
        ("{rx-gro-hw: on, large-receive-offload: on}", "exclude each other"),
        ("{rx-fcs: on, lro: on}", "exclude each other"),
        ("{tso: on, tx-tcp-segmentation: off}", "both say something of tx-tcp-segmentation"),
        ("{tso: on, sg: off}", "which is off"),
        ("{gro-hw: on}", "is no feature that the kernel has; did you mean `rx-gro-hw`?"),
    ],
)
def test_what_does_not_go_together_is_a_mistake(tmp_path: Path, said: str, problem: str) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"match: [{{kind: veth}}]\noffloads: {said}\n")
    (error,) = check(str(file))
    assert (error.line, problem in error.problem) == (2, True), error.problem


@pytest.mark.parametrize("said", ["{rx-gro-hw: on, lro: off}", "{rx-gro-hw: off, lro: on}"])
def test_one_of_two_that_exclude_each_other_is_none(tmp_path: Path, said: str) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"match: [{{kind: veth}}]\noffloads: {said}\n")
    assert check(str(file)) == ()
