"""Random networks measured layer by layer: the Monte Carlo side of the toolkit."""
