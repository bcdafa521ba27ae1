"""Deciders of the claims: small functions of no arguments that return a Fact."""
