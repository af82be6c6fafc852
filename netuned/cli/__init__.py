"""netunedctl: one module per command."""
