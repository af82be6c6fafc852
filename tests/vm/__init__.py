"""A booted Debian with real multi-queue cards, emulated by QEMU; `lab` puts it together."""
