"""What the host has: CPUs, caches, cards, interrupts, stacked devices."""
