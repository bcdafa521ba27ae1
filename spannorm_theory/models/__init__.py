"""Models that people train, read from their configurations."""
