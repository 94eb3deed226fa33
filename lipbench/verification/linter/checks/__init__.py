"""The checks, one file for each group L1 .. L5. A new file here is found by its place."""
