"""``make bench``: netuned's costs, each beside a floor or a peer measured in the same run."""
