"""Where tasks run: in this process, in several on this machine, or on a Ray cluster, behind one interface.

A task is a call of a function of the top level with one picklable argument. Executors know nothing of run folders: that
no unit is computed twice is the claims' affair, and that a killed task goes on is the rerun's.
"""

from lipbench.work.executors.base import NAMES, Executor, build

__all__ = ["NAMES", "Executor", "build"]
