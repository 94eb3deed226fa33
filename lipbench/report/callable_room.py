"""Why ``lipbench.report`` can be called: it is a room of the package, and a function of the Python interface.

Python binds a package's name in its parent as soon as it is imported, so that no function there can have that name.
"""

import importlib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipbench._internal.keywords import public

if TYPE_CHECKING:
    from lipbench.report.writer import StrPath

HANDED_ON = {  # name: module; imported on first use, since `lipbench list` needs nothing of it
    "FILES": "writer",
    "Results": "results",
    "check": "writer",
    "refuse_changed": "writer",
    "report_run": "writer",
    "write": "writer",
}


class CallableRoom(types.ModuleType):
    """A package that is called like ``report_run``, and hands on the names above."""

    @public("report")
    def __call__(
        self,
        run: "StrPath | Sequence[StrPath]",
        out: "StrPath | None" = None,
        *,
        check: bool = False,
        columns: int = 1,
        eps: float | str | None = None,
        family: "str | Sequence[str] | None" = None,
        metric: "str | Sequence[str] | None" = None,
    ) -> list[Path]:
        """See ``lipbench.report.writer.report_run``: run, out, check, and what tables.tex and figures show."""
        from lipbench.report.writer import report_run

        return report_run(run, out, check=check, columns=columns, eps=eps, family=family, metric=metric)

    def __getattr__(self, name: str) -> Any:
        if name not in HANDED_ON:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{self.__name__}.{HANDED_ON[name]}"), name)
