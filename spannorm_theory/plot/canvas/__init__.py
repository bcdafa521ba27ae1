"""The means of drawing: sizes, colours, marks, scales and crops."""
