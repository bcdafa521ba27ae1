"""The parts of a block: each module holds a part's moments and its torch operation, side by side."""
