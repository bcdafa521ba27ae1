"""Intervals that hold for every token correlation."""
