"""Pure: what was seen of a host as one page of HTML that needs nothing else.

Whatever comes from outside goes through the template's escaping, or is text of a drawing's
elements. The page's own policy lets it load nothing, and run no script but the one it has.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from netuned import __version__
from netuned.doctor.finding import Finding
from netuned.plan import Change, Plan, merged
from netuned.report import drawing
from netuned.report.seen import CardSeen, Seen
from netuned.status import IN_SYNC, NOT_RUNNING, NicStatus, Status
from netuned.text import counted, escape
from netuned.values import describe

TEMPLATES = Path(__file__).with_name("templates")
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
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    style, script = (
        re.sub(r"\s*\n\s*", "\n", (TEMPLATES / name).read_text("utf-8"))
        for name in ("page.css", "page.js")
    )
    seen, known = page.seen, {nic.ifindex: nic for nic in page.status.nics}
    return environment.get_template("page.html").render(
        page=page,
        version=__version__,
        when=_time(page.at),
        style=Markup(style),
        script=Markup(script),
        style_hash=_digest(style),
        script_hash=_digest(script),
        nodes=drawing.machine(seen),
        levels=_levels(),
        cards=[_Card(page, card, known.get(card.nic.ifindex)) for card in seen.cards],
        changes=[*_changes(page.plan.changes)],
        withheld=[*_changes(page.plan.withheld)],
        done=[*_done(page.status)],
        colours=drawing.COLOURS,
        missing=seen.what.missing if seen.what else {},
        drawn=Markup,
        counted=counted,
        in_sync=IN_SYNC,
        summary=_summary(page.status),
    )


def _shown(value: object) -> object:
    """What is not to be seen in a text from outside, by its number."""
    return escape(value) if type(value) is str else value


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))


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


def _changes(changes: Iterable[Change]) -> Iterator[tuple[str, ...]]:
    """The rows of a plan: queues with the same change in one."""
    for change in merged(changes):
        yield (
            change.ifname or "host",
            f"{change.tunable} {change.key}".rstrip(),
            describe(change.before) or "to come",
            describe(change.after),
            "yes" if change.disruptive else "no",
            change.why,
        )


def _done(status: Status) -> Iterator[tuple[str, ...]]:
    """The last change of each setting, the newest first, and how often it was repaired."""
    settings = [("host", setting) for setting in status.manager.settings]
    settings += [(nic.name, setting) for nic in status.nics for setting in nic.settings]
    changed = [(one.last_change, name, one) for name, one in settings if one.last_change]
    changed.sort(key=lambda each: -each[0].at)
    for last, name, setting in changed[:CHANGES_SHOWN]:
        yield (
            _time(last.at),
            name,
            f"{last.tunable} {last.key}".rstrip(),
            last.before or "none",
            last.after,
            last.cause,
            str(setting.repairs),
        )
