"""Averages of softmax rows and of top-k gates with Gaussian logits, and their tables."""
