"""Architectures as ordinary torch modules, which one may train."""
