"""Moments through a stack and back: what theory says of every layer."""
