"""Tables for papers: tables.tex."""

from lipbench.report.tex.papers import PaperTable, of_section, source
from lipbench.report.tex.text import tex

__all__ = ["PaperTable", "of_section", "source", "tex"]
