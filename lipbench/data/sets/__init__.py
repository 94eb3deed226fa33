"""The data sets, one file each, with a function ``load``; a new file here is found by its place."""
