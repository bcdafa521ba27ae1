"""The recurrence of one block as formulas, its closed forms and its iteration."""
