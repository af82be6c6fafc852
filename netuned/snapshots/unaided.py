"""How everything is, by a look at this host without the daemon."""

from __future__ import annotations

from dataclasses import replace

from netuned import status
from netuned.hardware.host import Host
from netuned.hardware.nic import HOST, Nic
from netuned.kernel import Kernel
from netuned.kernel.once import Once
from netuned.planning.neighbours import conflicts, governed_by
from netuned.planning.planner import Desired
from netuned.profiles.loader import ProfileSet
from netuned.profiles.settings import DEFAULT_PATH, Settings, load_settings
from netuned.reconcile import report
from netuned.reconcile.card import Card
from netuned.reconcile.host import PROFILE
from netuned.reconcile.tally import Tallies
from netuned.snapshots import offline, unmanaged
from netuned.status import NicStatus, Status


def look() -> Status:
    """What the daemon would show if it looked now, and wrote nothing. Raises: KernelError.

    What it alone knows is not in it: counts, who fights over a setting, which cards are paused.
    """
    kernel, profiles = offline.load(None)
    settings = load_settings(DEFAULT_PATH, Settings())
    known = offline.host_and_desired(kernel, profiles)
    return look_at(kernel, profiles, known, tuple(map(str, settings.errors)))


def look_at(
    kernel: Kernel,
    profiles: ProfileSet,
    known: tuple[Host, Desired],
    problems: tuple[str, ...] = (),
) -> Status:
    """The same of any host; ``known`` is what was planned for it. Raises: KernelError.

    ``problems`` are sentences on netuned's own files.
    """
    host, desired = known
    baseline, unknown = offline.read_baseline(kernel)
    waiting, unread = offline.read_waiting(kernel)
    looks = {
        each.card.nic.ifindex: _status(each, profile.profile.name if profile else "")
        for each in offline.looks(kernel, profiles, (host, desired), baseline)
        for profile in [desired.profiles.get(each.card.nic.ifindex)]
    }
    unplanned = {problem.ifname: problem.message for problem in desired.problems}
    for ifindex, nic in host.nics.items():
        if nic.name in unplanned:
            loaded = desired.profiles.get(ifindex)
            name = loaded.profile.name if loaded else ""
            looks[ifindex] = _failed(Card(kernel, nic), name, unplanned[nic.name])
    host_status = looks.pop(HOST.ifindex, None) or _unmanaged(HOST)
    asked = Once(kernel)
    found = (
        looks.get(ifindex) or unmanaged.look(kernel, _unmanaged(nic), nic, asked)
        for ifindex, nic in host.nics.items()
    )
    nics = report.with_uppers(tuple(found), desired.through)
    of_host = offline.wanted_of_host(host, desired, desired.irqbalance)
    kept = governed_by(host.nics.values(), desired)
    neighbours = conflicts(
        kernel.files, kept, desired.irqbalance, of_host.values if of_host else {}
    )
    manager = report.manager_status(
        profiles,
        desired,
        nics,
        host_status,
        (
            *(p.message for p in (*unknown, *desired.problems) if not p.ifname),
            *unread,
            *problems,
        ),
        (*(of_host.conflicts if of_host else ()), *neighbours),
        0,
        waiting,
    )
    return Status(replace(manager, state=status.NOT_RUNNING), nics)


def _status(look: offline.Look, profile: str) -> NicStatus:
    card = look.card
    if card.nic is HOST:
        profile = PROFILE
    if look.problems:
        return _failed(card, profile, "; ".join(look.problems))
    card.note_withheld(look.withheld, None)
    return _shown(card, profile, report.card_state(card, look.changes))


def _failed(card: Card, profile: str, why: str) -> NicStatus:
    return _shown(card, profile, status.DEGRADED, why)


def _unmanaged(nic: Nic) -> NicStatus:
    return NicStatus(nic.ifindex, nic.name, nic.driver, "", status.UNMANAGED)


def _shown(card: Card, profile: str, state: str, error: str = "") -> NicStatus:
    return report.nic_status(card, profile, state, {}, None, error, "", Tallies(lambda: 0.0))
