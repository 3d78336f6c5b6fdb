"""How far a list of tasks is: a bar in a terminal, a changing line in a notebook, lines elsewhere where asked for."""

from __future__ import annotations

import abc
import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Shown:
    """What is running and how much is done, on stderr or in a notebook's cell.

    Parameters
    ----------
    title : str
        Before the rest.
    total : int
        Number of tasks; nothing is shown of none.
    progress : bool, optional
        None: where somebody watches, in a terminal or a notebook.
    """

    def __init__(self, title: str, total: int, progress: bool | None) -> None:
        self._view = _view(title, total, progress) if total else None
        self._labels: list[str] = []
        self._done = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Shown:
        if self._view:
            self._view.begin()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: Any) -> None:
        if self._view:
            self._view.end()

    @contextlib.contextmanager
    def running(self, label: str) -> Iterator[None]:
        """A context in which a task's label is shown; one more is done at its end."""
        self._change(label, begin=True)
        try:
            yield
        finally:
            self._change(label, begin=False)

    def _change(self, label: str, begin: bool) -> None:
        """Show or take away a label."""
        if self._view is None:
            return
        with self._lock:
            (self._labels.append if begin else self._labels.remove)(label)
            self._done += not begin
            self._view.show(self._done, "; ".join(self._labels), "" if begin else label)


class _View(abc.ABC):
    """One way to show it: `begin`, then `show` at every change, then `end`."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.started = title, total, time.perf_counter()

    def text(self, done: int, running: str) -> str:
        seconds = time.perf_counter() - self.started
        return f"{self.title}: {done} of {self.total} done, {seconds:.0f} s{running and f'; now {running}'}"

    @abc.abstractmethod
    def begin(self) -> None: ...

    @abc.abstractmethod
    def show(self, done: int, running: str, ended: str) -> None: ...

    @abc.abstractmethod
    def end(self) -> None: ...


class _Bar(_View):
    """Of a terminal, with a clock that runs."""

    def __init__(self, title: str, total: int, console: Console) -> None:
        super().__init__(title, total)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console)
        self._task = self._bar.add_task(title, total=total)

    def begin(self) -> None:
        self._bar.start()

    def show(self, done: int, running: str, ended: str) -> None:
        self._bar.update(self._task, description=f"{self.title} {running}", completed=done)

    def end(self) -> None:
        self._bar.stop()


class _Cell(_View):
    """Of a notebook: one line that changes. Rich's bar would need ipywidgets there."""

    def begin(self) -> None:
        from IPython.display import display

        self._handle: Any = display(self._shown(self.text(0, "")), raw=True, display_id=True)

    def _shown(self, text: str) -> dict[str, str]:
        return {"text/plain": text}

    def show(self, done: int, running: str, ended: str) -> None:
        self._handle.update(self._shown(self.text(done, running)), raw=True)

    def end(self) -> None:
        pass


class _Lines(_View):
    """Of a file or a pipe: a line for each task that has ended."""

    def begin(self) -> None:
        pass

    def show(self, done: int, running: str, ended: str) -> None:
        if ended:
            print(f"{self.text(done, '')}; {ended}", file=sys.stderr, flush=True)

    def end(self) -> None:
        pass


def _view(title: str, total: int, progress: bool | None) -> _View | None:
    if progress is False:
        return None
    console = Console(stderr=True)
    if console.is_jupyter:
        return _Cell(title, total)
    if console.is_terminal:
        return _Bar(title, total, console)
    return _Lines(title, total) if progress else None
