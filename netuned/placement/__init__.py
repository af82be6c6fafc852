"""Which CPU serves which queue: pure, for all cards together."""
