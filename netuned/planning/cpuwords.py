"""Pure: CPU sets in a profile's words, as ``local & first-threads``, rather than as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError
from netuned.hardware.nic import Nic
from netuned.hardware.topology import Topology
from netuned.profiles import expression
from netuned.profiles.specs import DEFAULT_IRQ_CPUS

_PLAIN = ("local", "online", "housekeeping", "first-threads", "isolated", "performance")
_FURTHER = ("local & first-threads", f"{DEFAULT_IRQ_CPUS} & first-threads", "efficiency")
_OF_NODE = ("node:{}", "node:{} & housekeeping", "node:{} & first-threads")


def exactly(topology: Topology, nic: Nic, cpus: CpuSet) -> Iterator[str]:
    """Expressions that mean these CPUs for a card, the plainest first; last their numbers."""
    yield from (text for text, meant in _all(topology, nic) if meant == cpus)
    yield str(cpus)


def around(topology: Topology, nic: Nic, cpus: CpuSet) -> Iterator[str]:
    """Expressions that mean these CPUs and more."""
    yield from (text for text, meant in _all(topology, nic) if cpus and not cpus - meant)


def _all(topology: Topology, nic: Nic) -> Iterator[tuple[str, CpuSet]]:
    local = topology.nodes.get(nic.numa_node, topology.online)
    evaluate = partial(expression.evaluate, topology=topology, local=local)
    nodes = sorted(topology.nodes) if len(topology.nodes) > 1 else ()
    for text in (
        *(DEFAULT_IRQ_CPUS, *_PLAIN, *_FURTHER),
        *(form.format(node) for node in nodes for form in _OF_NODE),
    ):
        try:
            yield text, evaluate(expression.parse(text))
        except ExpressionError:  # no such CPUs here
            continue
