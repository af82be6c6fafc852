"""The commands of netunedctl, each with what it does."""

from __future__ import annotations

COMMANDS = {
    "status": "show which cards are in sync, or one card queue by queue",
    "plan": "show what would be changed: what, from, to, and why",
    "apply": "bring cards into the state their profiles describe",
    "reload": "read the profiles again and bring them into force",
    "enable": "bring a profile into force on cards, by a file that is shown first",
    "disable": "take away what enable wrote, and put back what was there before",
    "edit": "edit a profile, and bring it into force once it is good",
    "diff": "show what two profiles say differently",
    "pause": "leave a card alone until it is resumed",
    "resume": "manage a paused card again",
    "confirm": "keep what was applied with --confirm",
    "rollback": "undo at once what was applied with --confirm",
    "restore": "put back what was there before netuned, and leave it alone",
    "check": "check profiles, without the daemon",
    "profiles": "show the loaded profiles and where they are in force",
    "schema": "print the JSON Schema of profiles",
    "history": "show what was changed, why, and who asked for it",
    "top": "show what cards, queues and CPUs do, refreshed, without the daemon",
    "watch": "show changes, drifts, repairs and contentions as they happen",
    "explain": "tell why a card has its profile, CPUs and queues, without the daemon",
    "doctor": "find what costs packets, CPU time or latency, and what mends it",
    "experiment": "have profiles take turns on a card, and tell what they change",
    "capture": "write a profile that says what a card is set to now",
    "import": "make profiles of what other tools' files set",
    "report": "write one page that shows CPUs, queues, load, the plan and what was changed",
    "fleet": "plan a change for snapshots of many hosts, or find which of them drifted",
    "metrics": "print what Prometheus collects of netuned, or write it into a file",
    "snapshot": "write what netuned reads of this host into one file",
}
"""Each is a module of that name with ``add_arguments(parser)`` and ``run(arguments) -> int``."""
