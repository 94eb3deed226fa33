"""The architectures, one file each; a new file here is found by its place.

An architecture is a function with the name of its file: (layers, input shape, number of outputs, *, its arguments) to a
list of layers, taken from any set of layers.
"""
