"""Runs of many faults or kills, and their figures."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from tests.netns.faults.bench import bench
from tests.netns.faults.calls import faults_of, meddling_of
from tests.netns.faults.card import CARD, IFB, OTHER, QUEUES, TAP, Card
from tests.netns.lab import Lab


@dataclass(slots=True)
class Figures:
    """How many faults, kills or others' writes there were, and what was wrong after which."""

    faults: int = 0
    kills: int = 0
    meddled: int = 0
    renames: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        bad = len(self.failed)
        parts = []
        if self.faults:
            parts.append(f"faults injected {self.faults}, survived {self.faults - bad}")
        if self.renames:
            parts.append(f"names changed {self.renames}, without a mistake {self.renames - bad}")
        if self.kills:
            parts.append(f"kills {self.kills}, clean recoveries {self.kills - bad}")
        if self.meddled:
            parts.append(f"others' writes {self.meddled}, repaired {self.meddled - bad}")
        return f"{'; '.join(parts)} ({self.seconds:.1f} s)"


def inject(
    directory: Path,
    *,
    own_qdiscs: bool = False,
    stride: int = 1,
    offset: int = 0,
    card: type[Card] = Card,
) -> Figures:
    """Make every call fail once, as a profile comes and as it goes; every ``stride``-th of them."""
    figures = Figures()
    start = time.monotonic()
    with bench(card.made(), directory, own_qdiscs=own_qdiscs) as made:
        for case in (made.applying, made.restoring):
            if wrong := made.attempt(case, None):
                figures.failed.append(f"{case.__name__} without a fault: {wrong}")
                break
            names = list(made.calls.names)
            for fault in list(faults_of(names))[offset::stride]:
                figures.faults += 1
                if wrong := made.attempt(case, fault):
                    figures.failed.append(f"{case.__name__} {names[fault.at]} {fault}: {wrong}")
                    made.repair()
    figures.seconds = time.monotonic() - start
    return figures


def meddle(
    directory: Path, *, own_qdiscs: bool = False, stride: int = 1, card: type[Card] = Card
) -> Figures:
    """Have somebody set everything after each write as a profile comes; every ``stride``-th."""
    figures = Figures()
    start = time.monotonic()
    with bench(card.made(), directory, own_qdiscs=own_qdiscs) as made:
        if wrong := made.attempt(made.applying, None):
            figures.failed.append(f"without anybody else: {wrong}")
            return figures
        names = list(made.calls.names)
        for fault in list(meddling_of(names))[::stride]:
            figures.meddled += 1
            if wrong := made.attempt(made.applying, fault):
                figures.failed.append(f"after {names[fault.at]}: {wrong}")
                made.repair()
    figures.seconds = time.monotonic() - start
    return figures


def kill(
    directory: Path, *, own_qdiscs: bool = False, stride: int = 1, card: type[Card] = Card
) -> Figures:
    """Kill at each (``stride``-th) step of a transaction; start again with the profile, without."""
    figures = Figures()
    start = time.monotonic()
    with bench(card.made(), directory, own_qdiscs=own_qdiscs) as made:
        if wrong := made.attempt(made.applying, None):
            figures.failed.append(f"without a kill: {wrong}")
            return figures
        for going in (False, True):
            for profile in (True, False):
                for step in range(0, 1000, stride):
                    made.drop()
                    if going:
                        asyncio.run(made.apply_only())
                        made.remove()
                    if not made.kill_at(step, made.apply_only):
                        made.repair()
                        break
                    figures.kills += 1
                    if profile:
                        made.drop()
                    else:
                        made.remove()
                    if wrong := made.recover(profile=profile):
                        figures.failed.append(f"{going=} {profile=} {step=}: {wrong}")
                        made.repair()
    figures.seconds = time.monotonic() - start
    return figures


def run() -> Figures:
    """All of it, in a namespace of its own: the figures of ``make soak``."""
    total = Figures()
    cards = ("default", "own", "shaped", "tap", "ifb", "polled")
    parts = product(("inject", "kill", "meddle"), cards)
    for what, of in (*parts, *product(("names", "names-kill"), ("mac", "name"))):
        with Lab() as lab:
            lab.add_pairs([(CARD, "peer0"), (OTHER, "peer1")], queues=QUEUES)
            lab.run("ip", "tuntap", "add", TAP, "mode", "tap")
            lab.run("ip", "link", "add", IFB, "numtxqueues", "2", "type", "ifb")
            printed = lab.run(sys.executable, "-m", "tests.netns.faults", what, of).stdout
        part = Figures(**json.loads(printed))
        total.faults += part.faults
        total.kills += part.kills
        total.meddled += part.meddled
        total.renames += part.renames
        total.seconds += part.seconds
        total.failed += part.failed
    return total
