"""Pure statistics and fronts on numbers. Knows no other room."""
