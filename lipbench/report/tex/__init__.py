"""Tables for papers: tables.tex."""

from lipbench.report.tex.layout import PaperTable
from lipbench.report.tex.papers import of_section, source
from lipbench.report.tex.text import tex

__all__ = ["PaperTable", "of_section", "source", "tex"]
