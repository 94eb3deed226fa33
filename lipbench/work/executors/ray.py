"""Tasks on a Ray cluster (https://docs.ray.io), which places them, and retries those whose worker died."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lipbench._internal import arguments
from lipbench.errors import LipbenchError, one_line
from lipbench.work.executors.base import WorkerDiedError, on_this_machine, prepare

T = TypeVar("T")
R = TypeVar("R")
RETRIES = 3
WAIT = 10.0  # seconds for a cluster to answer


@dataclass(frozen=True)
class RayExecutor:
    """At most ``jobs`` tasks at once; each takes ``threads`` CPUs and ``gpus`` GPUs of the cluster."""

    jobs: int
    threads: int
    address: str | None
    gpus: float | None

    def __post_init__(self) -> None:
        if self.address is None:
            on_this_machine(self.jobs, self.threads, least=0)
        else:  # those of other machines, unknown here
            arguments.whole_number("jobs", self.jobs, 0)
            arguments.whole_number("threads", self.threads, 1)

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """See ``Executor``."""
        ray = self._started()
        try:
            threads = self.threads

            def prepared(task: T) -> R:
                prepare(threads)
                return function(task)

            remote = ray.remote(num_cpus=threads, num_gpus=self.gpus or 0, max_retries=RETRIES)(prepared)
            waiting, running = list(reversed(tasks)), {}  # type: ignore[var-annotated]
            while waiting or running:
                while waiting and (self.jobs == 0 or len(running) < self.jobs):
                    task = waiting.pop()
                    running[remote.remote(task)] = task
                for reference in ray.wait(list(running))[0]:
                    yield self._result(ray, reference, running.pop(reference))
        finally:
            ray.shutdown()

    def _started(self) -> Any:
        try:
            import ray
        except ImportError as error:
            raise LipbenchError("--executor ray needs Ray: pip install 'lipbench[ray]'") from error
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        if self.address is None:
            options |= {"num_cpus": max(1, self.jobs) * self.threads if self.jobs else None}
        else:
            options = {"log_to_driver": False, "logging_level": "ERROR", "address": self.address}
        try:
            _knock(self.address)
            ray.init(**options)
        except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and its own
            where = "here" if self.address is None else f"at {self.address}"
            raise LipbenchError(f"no Ray cluster {where}: {one_line(error)[:200]}") from error
        return ray

    def _result(self, ray: Any, reference: Any, task: Any) -> Any:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, LipbenchError):
                raise error.cause from None
            raise
        except (ray.exceptions.RayError, OSError) as error:
            raise WorkerDiedError(
                f"a Ray worker died {RETRIES + 1} times ({one_line(error)[:120]}), perhaps because memory ran out: "
                "rerun the same command to resume; fewer --jobs need less memory, and so does a smaller --shard of an "
                "evaluation",
                task=task,
            ) from error


def _knock(address: str | None) -> None:
    """Raise OSError if no process listens at HOST:PORT: Ray itself would try for five minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=WAIT).close()
