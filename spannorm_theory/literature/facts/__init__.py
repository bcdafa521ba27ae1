"""What decides each claim: small functions of no arguments that return a Fact."""
