"""Each part of a block: its second moments, forward and backward, and its torch operation beside them."""
