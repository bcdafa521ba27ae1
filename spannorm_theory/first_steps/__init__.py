"""The first step of an optimiser: what it moves, and what that does to branches, streams and the output."""
