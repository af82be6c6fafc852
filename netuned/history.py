"""What netuned did, and who asked for it: kinds of entries in the journal, and reading them again.

The journal keeps them; netuned has no file of its own for that. Who may read the journal may read
this. An entry counts only if root wrote it, for any program may log under netuned's name.

Source: systemd.journal-fields(7), sd_journal_add_match(3)
"""

from __future__ import annotations

CHANGE, LEFT, FAILURE = "change", "left", "failure"
"""A setting was set; is not as wanted and is left so; could not be brought into force."""
REQUEST, TRIAL, CONTENTION = "request", "trial", "contention"
"""Somebody asked for something; a trial began or ended; so did a quarrel over a setting."""

KINDS = {
    CHANGE: "8f2abff6e22847c28d6d16d61082cd0e",
    LEFT: "441804790359431c8397bfabab124963",
    FAILURE: "fe1d2c8281644a658dd065b3f94a7a3e",
    REQUEST: "98d08b918c084dd3a588c51bb88f12a5",
    TRIAL: "7341b00482284292be8d64de06a84912",
    CONTENTION: "34857bf65bb94cff95eb8983cf80e6a7",
}
"""MESSAGE_ID by kind: never changed, programs look for them."""
