"""Reports: tables, figures and one page, each a pure function of the results of a run.

results = Results.load(RunFolder(path))
results.summary()            # the pandas frame behind all of it
write(results, out)          # every file of a report
check(results, published)    # what in a published report differs from a rebuild
"""

from lipbench.report.results import Results
from lipbench.report.writer import FILES, check, refuse_changed, write

__all__ = ["FILES", "Results", "check", "refuse_changed", "write"]
