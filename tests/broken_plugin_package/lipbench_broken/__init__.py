"""Plugins for lipbench, each broken in another way."""
