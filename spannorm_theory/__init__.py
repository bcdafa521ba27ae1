"""Signal and gradient propagation in deep transformers, for every placement of the norms."""
