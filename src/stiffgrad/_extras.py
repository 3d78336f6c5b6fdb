"""Libraries that only some calls need: imported there, and named with their install line where they are missing."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any


def require(module: str, extra: str, what: str) -> Any:
    """The module, or an ImportError that says what needs it and how to install it.

    Parameters
    ----------
    module : str
        What to import.
    extra : str
        The extra of stiffgrad that brings it.
    what : str
        What needs it: the subject of the message.

    Raises
    ------
    ImportError
        The library is not installed.

    Examples
    --------
    >>> require("no_such_library", "report", "trace.to_pandas()")
    Traceback (most recent call last):
    ...
    ImportError: trace.to_pandas() needs no_such_library: pip install 'stiffgrad[report]'
    """
    with needing(extra, what):
        return importlib.import_module(module)


@contextlib.contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Imports inside, of ours that import others' libraries: the first that is missing is named, as by `require`."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "stiffgrad"):
            raise
        raise ImportError(f"{what} needs {name}: pip install 'stiffgrad[{extra}]'", name=name) from None
