"""Reports: tables, figures and one page, each a pure function of the results of a run.

lipbench.report(run)         # writes the report of a run folder, or of several, see ``report_run``; check: compares;
                             # columns, eps, family, metric: what its tables and figures for papers show
results = Results.load(RunFolder(path))
results.summary()            # the pandas frame behind all of it
write(results, out)          # every file of a report
check(results, published)    # what in a published report differs from a rebuild
"""

import sys
from typing import TYPE_CHECKING

from lipbench.report.callable_room import CallableRoom

if TYPE_CHECKING:
    from lipbench.report.results import Results
    from lipbench.report.writer import FILES, check, refuse_changed, report_run, write

__all__ = ["FILES", "Results", "check", "refuse_changed", "report_run", "write"]

sys.modules[__name__].__class__ = CallableRoom
