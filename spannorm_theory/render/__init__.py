"""Results as text, LaTeX, MathML and HTML."""
