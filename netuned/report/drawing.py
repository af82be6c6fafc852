"""Pure: a host's CPUs with the queues on them, and what an RSS table deals out, as SVG.

Made as a tree of elements, so that no name in it can end one. Colours are classes of the page's
style; whatever one says, a shape or a text says too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from netuned.counters.sample import Sample, total
from netuned.cpuset import CpuSet
from netuned.hardware.vectors import TX
from netuned.kernel.counts import TIMES
from netuned.records import dataclass
from netuned.report.seen import CardSeen, Seat, Seen
from netuned.text import counted, escape

WORKING = tuple(kind for kind in TIMES if kind not in ("idle", "iowait"))
NETWORK = TIMES[5:7]
"""Interrupts and softirqs."""
LEVELS = (0.05, 0.2, 0.4, 0.6, 0.8)
"""Shares of a CPU's time at which the next darker colour begins."""

ACROSS = 8
"""CPUs side by side, at most: as many as a phone shows at a legible size."""
WIDE, HEAD, FOOT = 46, 14, 6
"""Of a CPU, in pixels: its width, the line with its number, the bar of network work."""
CHIP_WIDE, CHIP_HIGH, CHIP_STEP = 20, 12, 14
BESIDE = 2
"""Chips side by side on a CPU."""
ROWS = 2
"""Of chips, at most; what does not fit is told as a number."""
GAP = 6
COLOURS = 8
"""Of cards; the ninth has the first one's again, and another letter."""

BAR_WIDE, BAR_HIGH, LABEL_LEAST = 640, 22, 16


@dataclass(frozen=True, slots=True)
class NodeDrawn:
    """One NUMA node: a heading, and by L3 domain its name and its drawing."""

    name: str
    cards: tuple[CardSeen, ...]
    domains: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Chip:
    """A queue on a CPU: ``planned`` where it is not there and the plan has it so."""

    card: CardSeen
    number: int
    seat: Seat
    planned: bool

    @property
    def label(self) -> str:
        letter = self.card.letter
        return f"{letter.lower() if self.seat.role == TX else letter}{self.seat.queue}"

    @property
    def text(self) -> str:
        seat, name = self.seat, f"{self.card.nic.name} {self.seat.role} {self.seat.queue}"
        if self.planned:
            now = f"now on {seat.cpus}" if seat.cpus else "to come"
            return f"{name}: planned here, {now}"
        parts = [f"{name}: interrupt {seat.irq}, may run on {seat.cpus}"]
        parts += [f"planned on {seat.wanted}"] if seat.misplaced else []
        parts += [f"RPS to {seat.rps}"] if seat.rps else []
        parts += [f"XPS from {seat.xps}"] if seat.xps else []
        return ", ".join(parts)


def machine(seen: Seen) -> tuple[NodeDrawn, ...]:
    """The host, node by node."""
    topology = seen.topology
    chips = _chips(seen)
    nodes = {f"NUMA node {node}": (node, cpus) for node, cpus in topology.nodes.items()}
    rest = topology.online - _all(topology.nodes.values())
    nodes |= {"Without a NUMA node" if nodes else "All CPUs": (-1, rest)} if rest else {}
    return tuple(
        NodeDrawn(
            f"{name}: {f'CPUs {cpus}' if cpus else 'memory alone'}",
            tuple(card for card in seen.cards if card.nic.device and card.nic.numa_node == node),
            tuple(
                (f"L3 domain {cpus & domain}", _domain(seen, cpus & domain, chips))
                for domain in topology.l3_domains
                if cpus & domain
            ),
        )
        for name, (node, cpus) in nodes.items()
    )


def _all(sets: Iterable[CpuSet]) -> CpuSet:
    bits = 0
    for cpus in sets:
        bits |= cpus.bits
    return CpuSet(bits)


def _chips(seen: Seen) -> Mapping[int, list[_Chip]]:
    """By CPU: the queues that run there, and those that the plan has there."""
    found: dict[int, list[_Chip]] = {}
    for number, card in enumerate(seen.cards):
        for seat in card.seats:
            if seat.at >= 0:
                found.setdefault(seat.at, []).append(_Chip(card, number, seat, False))
            # of several CPUs none is the one
            wanted = seat.wanted if seat.misplaced else None
            if wanted is not None and len(wanted) == 1:
                found.setdefault(wanted.first, []).append(_Chip(card, number, seat, True))
    return found


def _domain(seen: Seen, cpus: CpuSet, chips: Mapping[int, list[_Chip]]) -> str:
    """The CPUs of one L3 domain, core by core."""
    most = max((len(chips.get(cpu, ())) for cpu in cpus), default=0)
    rows = min(-(-most // BESIDE), ROWS)
    high = HEAD + rows * CHIP_STEP + FOOT
    cores = [core & cpus for core in seen.topology.cores if core & cpus]
    lines: list[list[CpuSet]] = [[]]
    for core in cores:
        if lines[-1] and sum(map(len, lines[-1])) + len(core) > ACROSS:
            lines.append([])
        lines[-1].append(core)
    wide = max(sum(len(core) * WIDE + GAP for core in line) for line in lines) + GAP
    svg = _svg(
        wide, len(lines) * (high + GAP) + GAP, f"CPUs {cpus}: {_in_words(seen, cpus, chips)}"
    )
    y = GAP
    for line in lines:
        x = GAP
        for core in line:
            _rect(svg, x - 2, y - 2, len(core) * WIDE + 4, high + 4, "core")
            for cpu in core:
                _cpu(svg, seen, cpu, chips.get(cpu, []), (x, y, high, rows * BESIDE))
                x += WIDE
            x += GAP
        y += high + GAP
    return tostring(svg, encoding="unicode")


def _in_words(seen: Seen, cpus: CpuSet, chips: Mapping[int, list[_Chip]]) -> str:
    """What a drawing shows, for those who do not see it; the tables below have the rest."""
    queues = sum(not chip.planned for cpu in cpus for chip in chips.get(cpu, ()))
    where = CpuSet.of(cpu for cpu in cpus if any(not c.planned for c in chips.get(cpu, ())))
    text = counted(queues, "interrupt of queues", "interrupts of queues")
    text += f" on CPUs {where}" if where else ""
    if seen.what:
        hot = max(cpus, key=lambda cpu: _busy(seen.what, cpu))
        text += f"; busiest is CPU {hot}, {_busy(seen.what, hot):.0%}"
    return text


def _cpu(
    svg: Element,
    seen: Seen,
    cpu: int,
    chips: Sequence[_Chip],
    place: tuple[int, int, int, int],
) -> None:
    x, y, high, room = place
    busy = _busy(seen.what, cpu)
    kept = [step for step, cpus in seen.application.items() if cpu in cpus]
    group = SubElement(svg, "g", {"id": f"cpu{cpu}", "class": "cpu"})
    SubElement(group, "title").text = _told(seen, cpu, chips, kept)
    level = sum(busy >= least for least in LEVELS)
    _rect(group, x, y, WIDE, high, f"h{level}" if seen.what else "unmeasured")
    if cpu in seen.topology.isolated | seen.topology.nohz_full:
        _polygon(group, [(x, y), (x + WIDE, y), (x + WIDE, y + 3), (x, y + 3)], "isolated")
    if kept:
        low = y + high
        corner = [(x + WIDE, low), (x + WIDE - 12, low), (x + WIDE, low - 12)]
        _polygon(group, corner, "application")
    _text(group, x + 3, y + 12, str(cpu), "number")
    if seen.what:
        _text(group, x + WIDE - 3, y + 12, f"{100 * busy:.0f}", "share")
        network = round((WIDE - 2) * seen.what.share(cpu, *NETWORK), 1)
        if network:
            _rect(group, x + 1, y + high - 4, network, 3, "network")
    shown = chips if len(chips) <= room else chips[: room - 1]
    for place_of, chip in enumerate(shown):
        _chip(group, chip, *_spot(x, y, place_of))
    if len(shown) < len(chips):
        left, top = _spot(x, y, len(shown))
        _text(group, left + CHIP_WIDE - 2, top + 10, f"+{len(chips) - len(shown)}", "share")


def _spot(x: int, y: int, number: int) -> tuple[int, int]:
    row, column = divmod(number, BESIDE)
    return x + 2 + column * (CHIP_WIDE + 2), y + HEAD + 1 + row * CHIP_STEP


def _chip(svg: Element, chip: _Chip, x: int, y: int) -> None:
    kind = "planned" if chip.planned else f"chip c{chip.number % COLOURS}"
    kind += " misplaced" if chip.seat.misplaced and not chip.planned else ""
    said = {"class": kind, "data-queue": queue_id(chip.card, chip.seat)}
    if not chip.planned:
        said |= steering(chip.seat)
    group = SubElement(svg, "g", said)
    SubElement(group, "title").text = escape(chip.text)
    _rect(group, x, y, CHIP_WIDE, CHIP_HIGH)
    _text(group, x + CHIP_WIDE // 2, y + 9, chip.label, "label")


def queue_id(card: CardSeen, seat: Seat) -> str:
    """What a queue's mark in the drawing and its row in the table have in common."""
    return f"{card.nic.ifindex}-{seat.role}-{seat.queue}"


def steering(seat: Seat) -> dict[str, str]:
    """What is to be linked with a queue where the pointer is on it."""
    said = {"data-rps": str(seat.rps), "data-xps": str(seat.xps)}
    return {name: cpus for name, cpus in said.items() if cpus}


def _told(seen: Seen, cpu: int, chips: Sequence[_Chip], kept: Sequence[str]) -> str:
    topology = seen.topology
    parts = [f"CPU {cpu}, core {topology.core_of(cpu)}"]
    if seen.what:
        parts.append(f"busy {_busy(seen.what, cpu):.0%}")
        parts.append(f"interrupts and softirqs {seen.what.share(cpu, *NETWORK):.0%}")
    parts += ["isolated"] if cpu in topology.isolated else []
    parts += ["tickless"] if cpu in topology.nohz_full else []
    parts += [f"kept for the application ({step})" for step in kept]
    queues = [f"{c.card.nic.name} {c.seat.role} {c.seat.queue}" for c in chips if not c.planned]
    parts += [f"queues: {', '.join(queues)}"] if queues else []
    return escape("; ".join(parts))


def _busy(what: Sample | None, cpu: int) -> float:
    return what.share(cpu, *WORKING) if what else 0.0


def rss(card: CardSeen) -> str:
    """How many entries of the table each queue has, as a bar."""
    counts = Counter(card.table)
    told = f"RSS table of {card.nic.name}: {counted(len(card.table), 'entry', 'entries')}"
    return _bar(
        dict(sorted(counts.items())), "entries", f"{told} over {counted(len(counts), 'queue')}"
    )


def traffic(card: CardSeen, seen: Seen) -> str:
    """The packets that each queue received while it was measured, as a bar; empty without any."""
    sample = seen.of_card(card)
    packets = {q: c.get("packets", 0) for q, c in sorted(sample.rx.items())} if sample else {}
    if not sample or not any(packets.values()):
        return ""
    told = f"Packets of {card.nic.name}: {total(sample.rx.values(), 'packets')} received"
    return _bar(packets, "packets", told)


def _bar(parts: Mapping[int, int], unit: str, told: str) -> str:
    """Shares side by side, each with its queue's number where there is room for it."""
    whole = sum(parts.values())
    svg = _svg(BAR_WIDE, BAR_HIGH, f"{told}; {', '.join(_largest(parts, whole))}")
    svg.set("preserveAspectRatio", "none")
    x = 0.0
    for place, (queue, count) in enumerate(parts.items()):
        wide = BAR_WIDE * count / whole
        group = SubElement(svg, "g", {"class": f"part{place % 2}"})
        SubElement(group, "title").text = f"queue {queue}: {count} {unit}, {count / whole:.1%}"
        _rect(group, round(x, 2), 0, round(wide, 2), BAR_HIGH)
        if wide >= LABEL_LEAST:
            _text(group, round(x + wide / 2, 2), 15, str(queue), "label")
        x += wide
    return tostring(svg, encoding="unicode")


def _largest(parts: Mapping[int, int], whole: int) -> Iterator[str]:
    least, most = (by(parts, key=lambda queue: parts[queue]) for by in (min, max))
    yield f"most has queue {most}, {parts[most] / whole:.1%}"
    yield f"least queue {least}, {parts[least] / whole:.1%}"


def _svg(wide: int, high: int, told: str) -> Element:
    size = {"viewBox": f"0 0 {wide} {high}", "width": str(wide), "height": str(high)}
    return Element("svg", {**size, "role": "img", "aria-label": escape(told)})


def _rect(svg: Element, x: float, y: float, wide: float, high: float, kind: str = "") -> None:
    place = {"x": str(x), "y": str(y), "width": str(wide), "height": str(high)}
    SubElement(svg, "rect", {**place, **({"class": kind} if kind else {})})


def _polygon(svg: Element, points: Iterable[tuple[int, int]], kind: str) -> None:
    text = " ".join(f"{x},{y}" for x, y in points)
    SubElement(svg, "polygon", {"points": text, "class": kind})


def _text(svg: Element, x: float, y: float, text: str, kind: str) -> None:
    SubElement(svg, "text", {"x": str(x), "y": str(y), "class": kind}).text = escape(text)
