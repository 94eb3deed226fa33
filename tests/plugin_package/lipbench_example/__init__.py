"""One plugin of each kind for lipbench."""
