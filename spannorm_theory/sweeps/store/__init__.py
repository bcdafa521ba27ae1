"""Finished cells of sweeps on disk: their files, lock, merge and export."""
