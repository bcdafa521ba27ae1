"""Growth laws of recurrences in deep stacks (docs/theory.md, T12)."""
