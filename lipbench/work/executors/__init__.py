"""Where tasks run: in this process, in several on this machine, or on a Ray cluster, behind one interface.

A task is a call of a function of the top level with one picklable argument. Executors know neither leases nor folders:
the coordinator sees to it that no task is done twice, and a rerun resumes a task that was killed.
"""

from lipbench.work.executors.base import Executor, WorkerDiedError, build, is_executor

__all__ = ["Executor", "WorkerDiedError", "build", "is_executor"]
