"""Sweeps over many architectures: cells, the store that keeps them, and what runs them."""
