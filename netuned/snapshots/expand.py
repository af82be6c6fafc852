"""Expands a described machine into the files and answers its kernel would show."""

from __future__ import annotations

from netuned.kernel.answers import Answers
from netuned.kernel.recorded import RecordedKernel, Tree
from netuned.snapshots.cards import add_cards
from netuned.snapshots.processors import add_cpus
from netuned.snapshots.spec import MachineSpec


def expand(machine: MachineSpec) -> RecordedKernel:
    """The described machine as a recorded host."""
    tree, answers = Tree(), Answers()
    add_cpus(tree, machine)
    add_cards(tree, answers, machine)
    return RecordedKernel(tree, answers)
