"""The page of a report: one HTML file that computes on what it embeds, and asks no network for anything."""

from lipbench.report.page.payload import payload
from lipbench.report.page.rendering import render

__all__ = ["payload", "render"]
