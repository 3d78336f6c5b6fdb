"""Starts side by side, in processes by joblib."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from joblib import Parallel, delayed, effective_n_jobs

from stiffgrad._config import one_blas_thread
from stiffgrad._float64 import float64

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Jobs:
    """How many calls run at once: `count` as scikit-learn's `n_jobs`; `one_thread`: each with one BLAS thread."""

    count: int | None = None
    one_thread: bool = True

    def __post_init__(self) -> None:
        if self.count == 0:
            raise ValueError("n_jobs=0 means nothing: give how many starts run at once, or -1 for all processors")

    @property
    def at_once(self) -> int:
        """Calls at once, at least 1."""
        return int(effective_n_jobs(self.count))

    def batches(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        """The items, as many at a time as run at once."""
        step = self.at_once
        return (items[begin : begin + step] for begin in range(0, len(items), step))

    def map(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
        """The results of a function of a module for each of the arguments, in order."""
        if len(calls) < 2 or self.at_once == 1:
            return [function(*call) for call in calls]
        return list(Parallel(n_jobs=self.count)(delayed(_apart)(function, self.one_thread, *call) for call in calls))


@float64
def _apart(function: Callable[..., T], one_thread: bool, *arguments: Any) -> T:
    with one_blas_thread(one_thread):
        return function(*arguments)
