"""Tasks for the check of executors, in a module that other processes import quickly."""

from lipbench.errors import LipbenchError


def doubled(task: int) -> int:
    """Twice the task."""
    return 2 * task


def refused(task: int) -> int:
    """Raise LipbenchError."""
    raise LipbenchError(f"task {task} is refused")
