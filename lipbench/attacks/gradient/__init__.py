"""lipbench's own attacks, by gradient ascent on the margin."""
