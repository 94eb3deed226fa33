"""The checks, one file for each group L1xx .. L5xx. A new file here is found by its place."""
