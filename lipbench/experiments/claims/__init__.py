"""The claims, one file each, with the name of the command's experiment; a new file here is found by its place.

Each module ends with its ``EXPERIMENT``, see ``experiment.Experiment``.
"""
