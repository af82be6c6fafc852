"""Many hosts at once: what a change would do to each, and which are not as they should be."""
