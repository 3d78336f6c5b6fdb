"""Tasks whose results are files, run one after the other or a few at a time, with progress; Ctrl-C stops cleanly."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from stiffgrad.laboratory.cluster import completed
from stiffgrad.laboratory.progress import Shown
from stiffgrad.laboratory.store import write_json
from stiffgrad.laboratory.workers import Crashed, Job, Worker

GRACE_SECONDS = 600.0  # beyond its budget, for compiling and for one long step; then the process is ended


def run_all(
    tasks: Sequence[Job], jobs: int, progress: bool | None = None, title: str = "running", dask: str | None = None
) -> None:
    """Run the tasks in order, `jobs` at a time, each in a process; 0: in this process. With `dask`: on that cluster.

    Raises KeyboardInterrupt on Ctrl-C, after the processes were ended; the files of finished tasks stay.
    """
    with Shown(title, len(tasks), progress) as shown:
        if dask is not None:
            for task, result in completed(tasks, dask, GRACE_SECONDS) if tasks else ():
                with shown.running(task.label):
                    write_json(task.path, result)
        elif jobs:
            _run_in_processes(tasks, min(jobs, len(tasks)), shown)
        else:
            for task in tasks:
                with shown.running(task.label):
                    write_json(task.path, task.function(*task.arguments()))


def _run_in_processes(tasks: Sequence[Job], jobs: int, shown: Shown) -> None:
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    stop = threading.Event()
    workers = [Worker() for _ in range(jobs)]

    def serve(worker: Worker) -> None:
        while not stop.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            with shown.running(task.label):
                result = _attempt(task, worker, stop)
            if result is not None:
                write_json(task.path, result)

    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, jobs)) as threads:
        try:
            for future in concurrent.futures.as_completed([threads.submit(serve, worker) for worker in workers]):
                future.result()
        finally:  # also where one of them raised, or Ctrl-C came
            stop.set()
            for worker in workers:
                worker.kill()


def _attempt(task: Job, worker: Worker, stop: threading.Event) -> Any:
    """The task's result; that of a crash where its process died; None where everything is being stopped."""
    begin = time.perf_counter()
    try:
        return worker.run(task.function, *task.arguments(), timeout_seconds=task.seconds + GRACE_SECONDS)
    except Crashed as crash:
        return None if stop.is_set() else task.crashed(str(crash), time.perf_counter() - begin)
    except KeyboardInterrupt:  # Ctrl-C reached the other process first: the main thread will hear of it too
        stop.set()
        return None
