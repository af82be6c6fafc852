"""Pure: how the run-time state of cards and host looks to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from netuned import __version__
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import COMBINED, RX, TX
from netuned.plan import Change
from netuned.planning.matching import Through
from netuned.planning.planner import Desired
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.card import Card
from netuned.status import (
    APPLYING,
    CONTENDED,
    DEGRADED,
    DRIFTED,
    IN_SYNC,
    OBSERVED,
    PAUSED,
    UNMANAGED,
    UNSUPPORTED,
    Applied,
    ManagerStatus,
    NicStatus,
    ProfileStatus,
    QueueStatus,
    SettingStatus,
)
from netuned.tunables import TUNABLES, irq
from netuned.values import State, describe


def nic_status(
    card: Card,
    profile: str,
    state: str,
    pending: tuple[Change, ...],
    contended: Mapping[str, str],
    last_change: Applied | None,
    last_error: str,
    failed: str,
) -> NicStatus:
    """One card as D-Bus and the CLI show it; ``failed`` is the tunable that ended the last pass.

    ``contended`` are the tunables that somebody changes again and again, and what to say of it.
    """
    return NicStatus(
        ifindex=card.nic.ifindex,
        name=card.nic.name,
        driver=card.nic.driver,
        profile=profile,
        state=state,
        queues=_queues(card.nic, card.found) if profile else (),
        settings=_settings(card, pending, contended, failed) if profile else (),
        last_change=last_change,
        last_error=last_error,
    )


def with_uppers(
    nics: tuple[NicStatus, ...], through: Mapping[int, Through]
) -> tuple[NicStatus, ...]:
    """Each card; one that is tuned through others with its profile, and a state from theirs."""
    by_ifindex = {nic.ifindex: nic for nic in nics}
    shown = []
    for nic in nics:
        above = through.get(nic.ifindex)
        below = [by_ifindex[card] for card in above.cards if card in by_ifindex] if above else []
        if above and below:
            nic = replace(
                nic,
                profile=above.profile,
                state=_worst({card.state for card in below}),
                through=tuple(sorted(card.name for card in below)),
            )
        shown.append(nic)
    return tuple(shown)


def _worst(states: set[str]) -> str:
    order = (DEGRADED, CONTENDED, DRIFTED, APPLYING, PAUSED, OBSERVED)
    return next((state for state in order if state in states), IN_SYNC)


def manager_status(
    profiles: ProfileSet,
    desired: Desired,
    nics: tuple[NicStatus, ...],
    settings: tuple[SettingStatus, ...],
    problems: tuple[str, ...],
    conflicts: tuple[str, ...],
    writes: int,
    pending_confirm: str = "",
) -> ManagerStatus:
    """The host as a whole: its state is the worst of its managed cards'."""
    states = {nic.state for nic in nics if nic.profile}
    worst = _worst(states - {OBSERVED})
    cards: dict[str, list[str]] = {}
    for nic in nics:
        if not nic.through:
            cards.setdefault(nic.profile, []).append(nic.name)
    return ManagerStatus(
        version=__version__,
        state=worst if states else UNMANAGED,
        profiles=tuple(
            ProfileStatus(
                name=loaded.profile.name,
                path=loaded.path,
                description=loaded.profile.description,
                priority=loaded.profile.priority,
                template=not loaded.profile.match,
                cards=tuple(cards.get(loaded.profile.name, ())),
            )
            for loaded in profiles.profiles
        ),
        profile_errors=tuple(map(str, profiles.errors)),
        problems=problems,
        conflicts=(*desired.conflicts, *conflicts),
        pending_confirm=pending_confirm,
        settings=settings,
        writes=writes,
    )


def summary(state: State) -> str:
    """A tunable's state in a few words: what is common, or each different value with its count."""
    if set(state) == {""}:
        return str(state[""])
    texts = Counter(describe(value) for key, value in state.items() if key != "root")
    root = [describe(state["root"])] if "root" in state else []
    if len(texts) <= 3:
        return ", ".join(root + [f"{text} ×{n}" if n > 1 else text for text, n in texts.items()])
    words = [describe(value) for value in state.values()]
    return " ".join(words[:8]) + (f" … ({len(words)})" if len(words) > 8 else "")


def _settings(
    card: Card, pending: tuple[Change, ...], contended: Mapping[str, str], failed: str
) -> tuple[SettingStatus, ...]:
    differing = {change.tunable for change in pending}
    settings = []
    for tunable in TUNABLES:
        name = tunable.NAME
        wanted, found = card.wanted.get(name), card.found.get(name)
        if name in card.unsupported:
            settings.append(SettingStatus(name, UNSUPPORTED, reason=card.unsupported[name]))
            continue
        if wanted is None or found is None:
            continue
        refused = [why for (tunable, _), (_, why) in card.refused.items() if tunable == name]
        if name == irq.NAME:
            refused += [irq.KERNEL_MANAGED for v in card.nic.vectors if v.irq in card.nic.managed]
        if refused:
            reason = f"{len(refused)} of {len(found)} cannot be set: {refused[0]}"
            settings.append(
                SettingStatus(name, UNSUPPORTED, summary(wanted), summary(found), reason)
            )
            continue
        reason = ""
        if name == "channels" and card.target and card.target.withheld:
            reason = f"policy.disruptive is deny: {card.target.withheld} is not set"
        reason = card.held.get(name, reason)
        state = DEGRADED if name == failed else DRIFTED if name in differing else IN_SYNC
        if name in contended:
            state, reason = CONTENDED, contended[name]
        settings.append(SettingStatus(name, state, summary(wanted), summary(found), reason))
    return tuple(settings)


def _queues(nic: Nic, found: Mapping[str, State]) -> tuple[QueueStatus, ...]:
    affinity = dict(zip((vector.key for vector in nic.vectors), nic.affinity, strict=True))
    affinity |= found.get("irq", {})  # type: ignore[arg-type]  # all CpuSet
    queues = []
    for kind, count in ((RX, nic.rx_queues), (TX, nic.tx_queues)):
        vectors = {v.queue: v for v in nic.vectors if v.role in (kind, COMBINED)}
        for index in range(count):
            vector = vectors.get(index)
            queues.append(
                QueueStatus(
                    kind=kind,
                    index=index,
                    irq=vector.irq if vector else -1,
                    cpus=str(affinity[vector.key]) if vector else "",
                    rps=str(found.get("rps", {}).get(f"rx-{index}", "")) if kind == RX else "",
                    xps=str(found.get("xps", {}).get(f"tx-{index}", "")) if kind == TX else "",
                    qdisc=_qdisc(found.get("qdisc", {}), kind, index, count),
                )
            )
    return tuple(queues)


def _qdisc(state: State, kind: str, index: int, count: int) -> str:
    if kind == RX:
        return ""
    value = state.get(f"tx-{index}") or (state.get("root") if count == 1 else None)
    return str(value) if value is not None else ""


def card_state(card: Card, pending: tuple[Change, ...]) -> str:
    """The state of a card whose last pass went well."""
    if pending:
        return DRIFTED
    if card.target is not None and card.target.profile.policy.enforce == "no":
        return OBSERVED
    return IN_SYNC
