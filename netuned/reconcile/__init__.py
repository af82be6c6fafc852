"""The loop: look, compare, write, read back; what keeps that safe."""
