"""What figures are drawn with: sizes, colours, marks, scales and crops."""
