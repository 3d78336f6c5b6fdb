"""Tasks whose results are files, run one after the other or a few at a time, with progress; Ctrl-C stops cleanly."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stiffgrad.laboratory.cluster import completed
from stiffgrad.laboratory.store import write_json
from stiffgrad.laboratory.workers import Crashed, Job, Worker

GRACE_SECONDS = 600.0  # beyond its budget, for compiling and for one long step; then the process is ended


def run_all(
    tasks: Sequence[Job], jobs: int, progress: bool = False, title: str = "running", dask: str | None = None
) -> None:
    """Run the tasks in order, `jobs` at a time, each in a process; 0: in this process. With `dask`: on that cluster.

    Raises KeyboardInterrupt on Ctrl-C, after the processes were ended; the files of finished tasks stay.
    """
    with _Shown(title, len(tasks), progress and bool(tasks)) as shown:
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


def _run_in_processes(tasks: Sequence[Job], jobs: int, shown: _Shown) -> None:
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


class _Shown:
    """A progress bar on stderr, or nothing."""

    def __init__(self, title: str, total: int, shown: bool) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) if shown else None
        self._task = self._bar.add_task(title, total=total) if self._bar else None
        self._title = title
        self._labels: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self) -> _Shown:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: Any) -> None:
        if self._bar:
            self._bar.stop()

    def running(self, label: str) -> _Running:
        """A context in which a task's label is shown; one more is done at its end."""
        return _Running(self, label)

    def change(self, label: str, begin: bool) -> None:
        """Show or take away a label."""
        if self._bar is None or self._task is None:
            return
        with self._lock:
            (self._labels.append if begin else self._labels.remove)(label)
            description = f"{self._title} {'; '.join(self._labels)}"
        self._bar.update(self._task, description=description, advance=0 if begin else 1)


class _Running:
    def __init__(self, shown: _Shown, label: str) -> None:
        self._shown = shown
        self._label = label

    def __enter__(self) -> None:
        self._shown.change(self._label, begin=True)

    def __exit__(self, kind: type | None, error: BaseException | None, where: Any) -> None:
        self._shown.change(self._label, begin=False)
