"""Hosts that are not this one: snapshots, described machines, plans for them."""
