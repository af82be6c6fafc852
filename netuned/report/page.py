"""Pure: what was seen of a host as one page of HTML that needs nothing else."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from netuned.doctor.finding import Finding
from netuned.plan import Plan
from netuned.records import dataclass
from netuned.report import drawing
from netuned.report.document import shown_time, written
from netuned.report.seen import CardSeen, Seen
from netuned.status import IN_SYNC, NOT_RUNNING, NicStatus, Status

CHANGES_SHOWN = 50
ROWS_OPEN = 16
"""A table of more queues is folded until somebody asks for it."""


@dataclass(frozen=True, slots=True)
class Page:
    """What goes into a page. ``at`` is its time, in seconds since 1970; ``source`` the host.

    ``findings`` is None where nobody looked for any. ``notes`` are sentences that come first.
    ``repairs`` are those on record, the newest first, as rows of texts; ``unread`` is why there
    are none to be seen.
    """

    seen: Seen
    status: Status
    plan: Plan
    at: float
    source: str = "this host"
    notes: tuple[str, ...] = ()
    findings: Sequence[Finding] | None = None
    repairs: Sequence[Sequence[str]] = ()
    unread: str = ""


def html(page: Page) -> str:
    """The whole document."""
    seen, known = page.seen, {nic.ifindex: nic for nic in page.status.nics}
    pieces = written(
        "page.html",
        page.at,
        script="page.js",
        page=page,
        nodes=drawing.machine(seen),
        levels=_levels(),
        cards=[_Card(page, card, known.get(card.nic.ifindex)) for card in seen.cards],
        done=[*_done(page.status)],
        colours=drawing.COLOURS,
        missing=seen.what.missing if seen.what else {},
        drawn=Markup,
        in_sync=IN_SYNC,
        summary=_summary(page.status),
    )
    return "".join(pieces)


def _summary(status: Status) -> str:
    """How all is, in a line."""
    states = Counter(nic.state for nic in status.nics)
    cards = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    daemon = "" if status.manager.state == NOT_RUNNING else f"netuned: {status.manager.state}. "
    return f"{daemon}Cards: {cards or 'none'}."


def _levels() -> list[tuple[str, str]]:
    """The classes of heat, and what they say."""
    bounds = [f"{least:.0%}" for least in drawing.LEVELS]
    spans = [f"{a} to {b}" for a, b in itertools.pairwise(bounds)]
    texts = [f"below {bounds[0]}", *spans, f"{bounds[-1]} and more"]
    return [(f"h{level}", text) for level, text in enumerate(texts)]


@dataclass(frozen=True, slots=True)
class _Card:
    """One card as the template asks for it."""

    page: Page
    card: CardSeen
    status: NicStatus | None

    @property
    def name(self) -> str:
        return self.card.nic.name

    @property
    def facts(self) -> str:
        nic = self.card.nic
        parts = [nic.driver or nic.kind]
        parts += [f"{nic.speed_mbps / 1000:g} Gbit/s"] if nic.speed_mbps else []
        parts += [f"NUMA node {nic.numa_node}"] if nic.numa_node >= 0 else []
        parts += [] if nic.up else ["down"]
        return ", ".join(parts)

    @property
    def measured(self) -> str:
        """What went through it, as a sentence."""
        what, sample = self.page.seen.what, self.page.seen.of_card(self.card)
        if not what or not sample:
            return ""
        rate = {name: what.rate(count) for name, count in sample.totals.items()}
        drops = sum(rate.get(name, 0) for name in ("rx_dropped", "rx_missed_errors", "tx_dropped"))
        ways = (
            f"{way} {rate.get(f'{role}_packets', 0):,.0f} packets and "
            f"{rate.get(f'{role}_bytes', 0) * 8 / 1e6:,.1f} Mbit a second"
            for role, way in (("rx", "received"), ("tx", "sent"))
        )
        return f"{', '.join(ways)}; dropped {drops:,.0f} packets a second"

    @property
    def rss(self) -> Markup:
        return Markup(drawing.rss(self.card)) if self.card.table else Markup()

    @property
    def traffic(self) -> Markup:
        return Markup(drawing.traffic(self.card, self.page.seen))

    @property
    def is_open(self) -> bool:
        return len(self.card.seats) <= ROWS_OPEN

    @property
    def queues(self) -> Iterator[tuple[Mapping[str, str], Sequence[str]]]:
        """A row for each: what links it with the drawing, and its cells."""
        what, sample = self.page.seen.what, self.page.seen.of_card(self.card)
        for seat in self.card.seats:
            marks = {"data-queue": drawing.queue_id(self.card, seat), **drawing.steering(seat)}
            wanted = "" if seat.wanted is None else str(seat.wanted) or "none"
            taken = sum(sample.interrupts.get(seat.irq, {}).values()) if sample else 0
            rate = f"{what.rate(taken):,.0f}" if what and seat.irq >= 0 else ""
            runs = "" if seat.at < 0 or len(seat.cpus) == 1 else f", runs on {seat.at}"
            yield (
                marks,
                (
                    f"{seat.role} {seat.queue}",
                    str(seat.irq) if seat.irq >= 0 else "",
                    f"{seat.cpus}{runs}",
                    wanted,
                    str(seat.rps),
                    str(seat.xps),
                    rate,
                    seat.why,
                ),
            )


def _done(status: Status) -> Iterator[tuple[str, ...]]:
    """The last change of each setting, the newest first, and how often it was repaired."""
    settings = [("host", setting) for setting in status.manager.settings]
    settings += [(nic.name, setting) for nic in status.nics for setting in nic.settings]
    changed = [(one.last_change, name, one) for name, one in settings if one.last_change]
    changed.sort(key=lambda each: -each[0].at)
    for last, name, setting in changed[:CHANGES_SHOWN]:
        yield (
            shown_time(last.at),
            name,
            f"{last.tunable} {last.key}".rstrip(),
            last.before or "none",
            last.after,
            last.cause,
            str(setting.repairs),
        )
