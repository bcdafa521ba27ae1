"""The recursion of one block as formulas, its closed forms and its iteration."""
