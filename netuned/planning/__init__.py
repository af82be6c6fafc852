"""From profiles and a host to every card's target, to changes, and to why it is so: pure."""
