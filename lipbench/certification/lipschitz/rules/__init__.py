"""lipbench's own rules, one file for each kind of layer or function. A new file here is found by its place."""
