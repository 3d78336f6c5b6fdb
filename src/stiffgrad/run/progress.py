"""One line of progress on the terminal, by Rich."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

_SHOWN = (
    ("loss", "loss", "{:.4e}"),
    ("gradient_norm", "gradient", "{:.2e}"),
    ("flow_time", "flow time", "{:.3g}"),
    ("step_size", "step size", "{:.2e}"),
    ("order", "order", "{:.0f}"),
    ("steps", "steps", "{:.0f}"),
    ("rejected_steps", "rejected", "{:.0f}"),
    ("wall_seconds", "elapsed", "{:.1f} s"),
)
EVERY_SECONDS = 0.1
LINE_SECONDS = 1.0  # off a terminal, where each row is a line of its own


class Progress:
    """Shows the newest row of a run, at most every 0.1 seconds (off a terminal, every second); nothing if not shown."""

    def __init__(self, name: str, shown: bool) -> None:
        self._name = name
        self._live: Any
        self._text: Any
        self._live, self._text = _rich() if shown else (None, None)
        self._lines = self._live is not None and not self._live.console.is_terminal
        self._next = 0.0

    def __enter__(self) -> Progress:
        if self._live is not None and not self._lines:
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._live is not None and not self._lines:
            self._live.stop()

    def update(self, row: Mapping[str, float]) -> None:
        """Show a row of the trace."""
        now = time.perf_counter()
        if self._live is None or now < self._next:
            return
        self._next = now + (LINE_SECONDS if self._lines else EVERY_SECONDS)
        shown = ((label, form, row.get(key, _NAN)) for key, label, form in _SHOWN)
        parts = [f"{label} {form.format(value)}" for label, form, value in shown if value == value]
        text = f"{self._name}  " + "  ".join(parts)
        if self._lines:
            print(text, flush=True)
        else:
            self._live.update(self._text(text))


_NAN = float("nan")


def _rich() -> Any:
    """Imported when it is used: a run that shows nothing need not wait for it."""
    from rich.live import Live
    from rich.text import Text

    return Live(refresh_per_second=10, transient=False), Text
