"""Faults on purpose: the n-th call of the kernel or the disk fails, or the daemon is killed there.

Or two cards change their names there (``names``).

One card in a network namespace (a veth; a tap for coalescing), the real kernel, the whole loop
without D-Bus. Each case brings a profile into force (or removes it) with one fault, looks at what
is left, lets the loop look again, and ends with the card exactly as it was before.

``python -m tests.netns.faults`` runs all in namespaces it makes, as ``runs.run()`` does.
"""
