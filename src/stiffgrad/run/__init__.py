"""A run: the loop that drives a solver, what it records, shows and saves, and many starts at once."""
