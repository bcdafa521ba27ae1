"""A user's module: its stream measured, its matrices read."""
