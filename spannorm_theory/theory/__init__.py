"""The theory: moments and adjoints of a traced block, recursions, laws, bounds, predictions."""
