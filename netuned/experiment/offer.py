"""What an experiment would have to show of a finding: its cure, against what is there; pure."""

from __future__ import annotations

from netuned.counters.sample import Sample
from netuned.doctor.facts import Facts
from netuned.doctor.finding import Finding
from netuned.experiment.measures import measured
from netuned.profiles.yamlreading import leaves
from netuned.records import dataclass

METRICS = {
    "few-cpus": "gbit_s",
    "shared-core": "gbit_s",
    "softirq-saturated": "gbit_s",
    "rps-missing": "gbit_s",
    "elephant-flow": "gbit_s",
    "pause-frames": "gbit_s",
    "silent-queue": "rx_imbalance",
    "uneven-rss": "rx_imbalance",
    "ring-overflow": "drops_per_million",
    "fq-flow-limit": "drops_per_million",
    "qdisc-drops": "drops_per_million",
    "lro-forwarding": "drops_per_million",
    "gro-not-merging": "cpu_ns_per_byte",
    "gro-hw-forwarding": "cpu_ns_per_byte",
}
"""What findings are about, where that is not what a packet costs: how much moves past a CPU, link
or queue that is at its end, how unequal queues are, what is lost, what a byte costs."""
LATENCIES = {"adaptive-latency": "latency_p99_us"}
"""Findings about what only a load can tell."""
WITHOUT = {
    "isolated-cpus": "what interrupts take from a CPU that is kept apart is in no metric",
    "zero-copy": "what a bound queue needs has to be there when it is bound, and turns change it",
}
"""Findings that an experiment would prove nothing of, and why."""

_CONTEXT, _HOST = "match", "host"


@dataclass(frozen=True, slots=True)
class Offer:
    """Settings ``KEY=VALUE`` to be tried against a ``profile``, or (empty) against none.

    ``metric`` is what the finding is about, empty for what an experiment is about anyway. ``apart``
    are keys of the cure that are the host's, so not tried.
    """

    settings: tuple[str, ...]
    profile: str = ""
    metric: str = ""
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unproven:
    """Why no experiment would prove a cure: a clause."""

    why: str


def offer(
    finding: Finding, facts: Facts, what: Sample, *, live: bool, usual: str
) -> Offer | Unproven:
    """The cure of a finding as an experiment has it.

    ``live``: of the traffic that is there, else of a load. ``usual`` is what the verdict is about
    unless something is said.
    """
    known = [*leaves("\n".join(finding.profile))]
    apart = tuple(key for key, _ in known if key.partition(".")[0] == _HOST)
    settings = tuple(
        f"{key}={value}" for key, value in known if key.partition(".")[0] not in (_CONTEXT, _HOST)
    )
    card = next((c for c in facts.cards.values() if c.nic.name == finding.card), None)
    if not finding.profile:
        return Unproven("no setting that a profile has mends it")
    if not settings or card is None:
        keys = ", ".join(apart)
        return Unproven(f"its cure is of the host ({keys}), and an experiment sets cards alone")
    if finding.name in WITHOUT:
        return Unproven(WITHOUT[finding.name])
    metric = METRICS.get(finding.name, "")
    if latency := LATENCIES.get(finding.name):
        if live:
            return Unproven("traffic that is there tells no latency; name a load by --with")
        metric = latency
    if live and what.seconds:
        counted = measured(what, card.nic.ifindex)
        if usual not in counted:
            return Unproven("nothing was sent or received, so traffic that is there tells nothing")
        metric = metric if metric in counted else ""
    nics = facts.status.nics if facts.status else ()
    profile = next((nic.profile for nic in nics if nic.ifindex == card.nic.ifindex), "")
    return Offer(settings, profile, metric, apart)
