"""Second moments through a traced block: the algebra, its adjoint, and its readings as symbols, pairs and
Grams."""
