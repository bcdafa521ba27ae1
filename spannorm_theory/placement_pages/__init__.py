"""A page for each placement, from one generator: the report's, and any other collection's."""
