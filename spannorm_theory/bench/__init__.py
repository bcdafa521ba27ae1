"""Measured facts about the toolkit: how fast it is, what precision costs, how accurate its theories are."""
