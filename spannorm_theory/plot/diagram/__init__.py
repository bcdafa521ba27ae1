"""Block diagrams of traced placements."""
