"""A process of its own for the runs of a comparison, so that a crash, or a call that never ends, is a result too."""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor, process_executor


def _keep_process() -> None:
    # Loky replaces a process that has grown by 300 MB, with a warning about leaks. Here that is data and compiled
    # code, which the next cell uses again.
    process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize


class Crashed(Exception):
    """The process died, or gave no answer in time and was ended; the text says which."""


class Worker:
    """One process that runs one call at a time, and is started again after a crash.

    Examples
    --------
    >>> with Worker() as worker:
    ...     worker.run(divmod, 7, 3)
    (2, 1)
    """

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._killed = False

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: Any) -> None:
        self.kill()

    def run(self, function: Callable[..., Any], *arguments: Any, timeout_seconds: float | None = None) -> Any:
        """Call the function there and return its result; what it raises is raised here.

        Raises
        ------
        Crashed
            If its process died, or took longer than `timeout_seconds`, or this worker was killed.
        """
        if self._killed:
            raise Crashed("the worker was stopped")
        if self._executor is None:
            self._executor = ProcessPoolExecutor(max_workers=1, initializer=_keep_process)
        try:
            return self._executor.submit(function, *arguments).result(timeout_seconds)
        except concurrent.futures.TimeoutError:
            self._end()
            raise Crashed(f"no answer within {timeout_seconds:g} s; its process was ended") from None
        except (process_executor.BrokenProcessPool, concurrent.futures.CancelledError) as error:
            self._end()
            raise Crashed(
                f"its process died: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
            ) from None

    def kill(self) -> None:
        """End the process at once, for good."""
        self._killed = True
        self._end()

    def _end(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(kill_workers=True)
