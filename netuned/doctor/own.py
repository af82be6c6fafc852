"""netuned itself: what it was told to keep, and does not or only against somebody."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator

from netuned import status
from netuned.counters.sample import Sample
from netuned.doctor.facts import Facts
from netuned.doctor.finding import CERTAIN, FULL, LATENT, WASTED, Finding, cost
from netuned.reconcile.tally import DRIFT

NOT_KEPT = {
    status.CONTENDED: (WASTED, "Somebody changes it again and again; netuned puts it back once a "
                       "minute, and between it is as the other wants."),
    status.DEGRADED: (FULL, "A change failed, so what the profile promises is not in force."),
    status.WITHHELD: (LATENT, "The profile forbids what drops the link, so this waits for you."),
    status.DRIFTED: (LATENT, "What the profile says is not in force."),
    status.WAITING: (LATENT, "Something that is bound to a queue needs it as it is until it ends."),
    status.UNSUPPORTED: (LATENT, "The card, its driver or this kernel has no such thing, so that "
                         "part of the profile is a wish."),
}  # fmt: skip
RECENT_S = 3600.0
"""Back to when a repair still explains what is seen."""


def not_kept(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Settings of profiles in force that are not as these say."""
    nics = facts.status.nics if facts.status else ()
    for nic in nics:
        if nic.ifindex not in facts.cards:
            continue
        for setting in nic.settings:
            if setting.state in NOT_KEPT:
                begin, why = NOT_KEPT[setting.state]
                yield Finding(
                    f"profile-{setting.state}",
                    cost(begin, 0.5),
                    f"{setting.tunable} is {setting.state}"
                    f"{f': {setting.reason}' * bool(setting.reason)}",
                    why,
                    {"writes": setting.writes, "repairs": setting.repairs,
                     "failures": setting.failures},
                    CERTAIN,
                    nic.name,
                    command=f"netunedctl status {shlex.quote(nic.name)}",
                )  # fmt: skip


def repaired(facts: Facts, what: Sample) -> Iterator[Finding]:
    """What somebody else changed, and netuned put back, within the last hour."""
    nics = facts.status.nics if facts.status else ()
    for nic in nics:
        for setting in nic.settings if nic.ifindex in facts.cards else ():
            last = setting.last_change
            if last is None or last.cause != DRIFT:
                continue
            ago = time.time() - last.at
            if not 0 <= ago <= RECENT_S:
                continue
            yield Finding(
                "repaired",
                cost(LATENT, setting.repairs / 100),
                f"{setting.tunable} {last.key} was put back {ago / 60:.0f} min ago "
                f"({time.strftime('%H:%M:%S', time.localtime(last.at))}), from {last.before} to "
                f"{last.after}; {setting.repairs} repairs since the daemon started",
                "Somebody else sets it too: until it is put back, it is as they want.",
                {"repairs": setting.repairs},
                CERTAIN,
                nic.name,
                command=f"netunedctl history {shlex.quote(nic.name)}",
            )


FINDINGS = (not_kept, repaired)
