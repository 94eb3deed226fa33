"""Reports: tables, figures and one page, each a pure function of the results of a run.

lipbench.report(run)         # writes the report of a run folder, see ``report_run``
results = Results.load(RunFolder(path))
results.summary()            # the pandas frame behind all of it
write(results, out)          # every file of a report
check(results, published)    # what in a published report differs from a rebuild
"""

import sys
import types
from pathlib import Path

from lipbench.report.results import Results
from lipbench.report.writer import FILES, StrPath, check, refuse_changed, report_run, write

__all__ = ["FILES", "Results", "check", "refuse_changed", "report_run", "write"]


class _CallableRoom(types.ModuleType):
    """``lipbench.report`` is this room, and a function of the Python interface: it can be called like ``report_run``.

    Python binds a package's name in its parent as soon as it is imported, so that a function cannot have that name.
    """

    def __call__(self, run: StrPath, out: StrPath | None = None, *, check: bool = False) -> list[Path]:
        return report_run(run, out, check=check)


_CallableRoom.__call__.__doc__ = report_run.__doc__
sys.modules[__name__].__class__ = _CallableRoom
