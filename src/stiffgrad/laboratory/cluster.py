"""Tasks on a Dask cluster: the same processes of their own as on one machine, each beside a worker of Dask.

Dask moves the tasks, and gives those of a worker that died to another. A crash of a run is still a result, because the
run is not in Dask's worker but in a process of that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stiffgrad._extras import needing
from stiffgrad.laboratory.environment import code
from stiffgrad.laboratory.workers import Crashed, Job, Worker

SECONDS = 30.0  # to wait for a scheduler, and for its first worker
_here = threading.local()  # one process for each thread of a worker: it keeps what it compiled


def completed(tasks: Sequence[Job], address: str, grace_seconds: float) -> Iterator[tuple[Job, Any]]:
    """Run tasks on the cluster; yields each with its result, or that of a crash, in the order in which they end.

    Raises
    ------
    ImportError
        The extra `dask` is missing.
    ValueError
        No scheduler answers at the address, it has no workers, or they run other code than this process.
    """
    with _client(address) as client:
        import distributed

        try:
            client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError:
            raise ValueError(f"dask={address!r}: it has no workers; `dask worker {address}` starts one") from None
        waiting = {}
        for task in tasks:
            limit = task.seconds + grace_seconds
            future = client.submit(isolated, task.function, task.arguments(), limit, code(), pure=False)
            waiting[future] = task
        try:
            for future in distributed.as_completed(waiting, loop=client.loop):
                yield waiting[future], _result(waiting[future], future, distributed.KilledWorker)
        finally:
            client.cancel(list(waiting))


def check(address: str) -> None:
    """Raise what `completed` would, before any work."""
    with _client(address):
        pass


def _client(address: str) -> Any:
    with needing("dask", f"dask={address!r}"):
        import distributed
        from distributed.comm import get_address_host_port
    try:
        get_address_host_port(address, strict=True)  # a client of no address tries for a minute to close
        return distributed.Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"dask={address!r}: no scheduler answers there ({str(error) or 'no answer'}); `dask scheduler` starts one"
        ) from None


def _result(task: Job, future: Any, killed: type[Exception]) -> Any:
    try:
        done, result, seconds = future.result()
    except killed as error:  # several workers died of it
        done, result, seconds = False, str(error), 0.0
    return result if done else task.crashed(result, seconds)


def isolated(
    function: Callable[..., Any], arguments: tuple[Any, ...], limit_seconds: float, expected: str
) -> tuple[bool, Any, float]:
    """On a worker of Dask: run the call in a process of its own. Whether it ended, its result or why not, seconds."""
    if code() != expected:
        raise ValueError("a worker of the cluster runs another stiffgrad than this process: install the same on all")
    if not hasattr(_here, "worker"):
        _here.worker = Worker()
    begin = time.perf_counter()
    try:
        return True, _here.worker.run(function, *arguments, timeout_seconds=limit_seconds), 0.0
    except Crashed as crash:
        return False, str(crash), time.perf_counter() - begin
