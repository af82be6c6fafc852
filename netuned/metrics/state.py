"""How everything is, as metrics. Pure.

Labels are bounded: cards that netuned has to do with, settings, states, profiles. The name of a
card is ``device``, as with node_exporter, and empty for the host's own settings. ``writer`` is a
unit or a program, never a process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from netuned.status import (
    CARD_STATES,
    CONTENDED,
    OUT_OF_SYNC,
    UNMANAGED,
    ManagerStatus,
    NicStatus,
    SettingStatus,
    Status,
)

HOST = ""
"""The device of the host's own settings."""


def families(status: Status | None) -> Iterator[Metric]:
    """Of what the daemon shows; without one (None), that it is not there."""
    yield _gauge("netuned_up", "Whether the daemon answers over D-Bus.", float(status is not None))
    if status is None:
        return
    cards = [nic for nic in status.nics if nic.profile or nic.state != UNMANAGED]
    yield from _of_manager(status.manager)
    yield from _of_cards(cards)
    settings = [(HOST, setting) for setting in status.manager.settings]
    settings += [(nic.name, setting) for nic in cards for setting in nic.settings]
    yield from _of_settings(settings)


def _of_manager(manager: ManagerStatus) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "netuned_build_info", "The daemon's version; always 1.", labels=("version",)
    )
    build.add_metric((manager.version,), 1)
    yield build
    state = GaugeMetricFamily(
        "netuned_state",
        "1 for the worst state of a card with a profile, and of the host's settings.",
        labels=("state",),
    )
    for known in dict.fromkeys((*CARD_STATES, manager.state)):
        state.add_metric((known,), known == manager.state)
    yield state
    yield _gauge(
        "netuned_profiles_loaded_timestamp_seconds",
        "When the profiles were read last.",
        manager.loaded_at,
    )
    profiles = GaugeMetricFamily(
        "netuned_profile_info",
        "A loaded profile; the digest is the same on each host where it says the same. Always 1.",
        labels=("profile", "digest"),
    )
    used = GaugeMetricFamily(
        "netuned_profile_cards", "Cards that a profile is in force on.", labels=("profile",)
    )
    for profile in manager.profiles:
        profiles.add_metric((profile.name, profile.digest), 1)
        used.add_metric((profile.name,), len(profile.cards))
    yield profiles
    yield used
    for name, what, sentences in (
        ("netuned_profile_errors", "Mistakes in profiles.", manager.profile_errors),
        ("netuned_problems", "Problems that are no card's.", manager.problems),
        ("netuned_conflicts", "Profiles and programs that contradict.", manager.conflicts),
    ):
        yield _gauge(name, what, len(sentences))
    yield _gauge(
        "netuned_confirm_pending",
        "Whether changes wait to be confirmed, and are undone if they are not.",
        float(bool(manager.pending_confirm)),
    )
    writes = CounterMetricFamily("netuned_kernel_writes", "Kernel writes since the daemon started.")
    writes.add_metric((), manager.writes)
    yield writes


def _of_cards(cards: Iterable[NicStatus]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "netuned_card_info",
        "A card that a profile is in force on, or that is to be put back. Always 1.",
        labels=("device", "driver", "profile"),
    )
    state = GaugeMetricFamily(
        "netuned_card_state", "1 for the state that a card is in.", labels=("device", "state")
    )
    for nic in cards:
        info.add_metric((nic.name, nic.driver, nic.profile), 1)
        for known in dict.fromkeys((*CARD_STATES, nic.state)):
            state.add_metric((nic.name, known), known == nic.state)
    yield info
    yield state


def _of_settings(settings: Iterable[tuple[str, SettingStatus]]) -> Iterator[Metric]:
    labels = ("device", "setting")
    in_sync = GaugeMetricFamily(
        "netuned_setting_in_sync",
        "Whether a setting is as the profile says; the device is empty for the host's own.",
        labels=labels,
    )
    contended = GaugeMetricFamily(
        "netuned_setting_contended",
        "A setting that somebody changes again and again, and the unit or program that does, as "
        "far as that is known. Always 1.",
        labels=(*labels, "writer"),
    )
    writes, repairs, failures = (
        CounterMetricFamily(f"netuned_setting_{name}", what, labels=labels)
        for name, what in (
            ("writes", "Changes that netuned made and that stayed, since the daemon started."),
            ("repairs", "Those of the writes that put back what somebody else had changed."),
            ("failures", "Looks that ended because a write failed, since the daemon started."),
        )
    )
    for device, setting in settings:
        at = device, setting.tunable
        in_sync.add_metric(at, setting.state not in OUT_OF_SYNC)
        if setting.state == CONTENDED:
            contended.add_metric((*at, setting.writer), 1)
        writes.add_metric(at, setting.writes)
        repairs.add_metric(at, setting.repairs)
        failures.add_metric(at, setting.failures)
    yield from (in_sync, contended, writes, repairs, failures)


def _gauge(name: str, what: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, what)
    gauge.add_metric((), value)
    return gauge
