"""One validator for options: whole and positive numbers, choices, flags; refused with name, value and remedy."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def whole(name: str, value: Any, least: int = 0, most: int | None = None, remedy: str = "") -> int:
    """A whole number from `least` to `most`; truth values are none.

    Parameters
    ----------
    name : str
        What the user wrote: `name=value` begins the message.
    value : object
        What was given.
    least, most : int, optional
        Bounds, inclusive.
    remedy : str
        What else would do, for the end of the message.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        For what is no whole number, 2.0 included.
    ValueError
        For a number out of bounds.

    Examples
    --------
    >>> whole("pairs", 3)
    3
    >>> whole("pairs", 2.5, least=0)
    Traceback (most recent call last):
    ...
    TypeError: pairs=2.5 must be a whole number, at least 0
    """
    wanted = f"at least {least}" if most is None else f"from {least} to {most}"
    words = _words(name, value, f"a whole number, {wanted}", remedy)
    if isinstance(value, bool | np.bool) or not isinstance(value, numbers.Integral):
        raise TypeError(words)
    seen = int(value)
    if seen < least or (most is not None and seen > most):
        raise ValueError(words)
    return seen


def number(name: str, value: Any, least: float = -math.inf, below: float = math.inf, remedy: str = "") -> float:
    """A finite real number with least <= value < below. Raises TypeError or ValueError.

    Examples
    --------
    >>> number("momentum", 1.5, least=0.0, below=1.0)
    Traceback (most recent call last):
    ...
    ValueError: momentum=1.5 must be a finite number, at least 0, below 1
    """
    wanted = ["a finite number"]
    wanted += [f"at least {least:g}"] if least > -math.inf else []
    wanted += [f"below {below:g}"] if below < math.inf else []
    words = _words(name, value, ", ".join(wanted), remedy)
    real = _real(value, words)
    if not (math.isfinite(real) and least <= real < below):
        raise ValueError(words)
    return real


def positive(name: str, value: Any, remedy: str = "") -> float:
    """A finite number above 0. Raises TypeError or ValueError.

    Examples
    --------
    >>> positive("h0", "x")
    Traceback (most recent call last):
    ...
    TypeError: h0='x' must be a positive, finite number
    """
    words = _words(name, value, "a positive, finite number", remedy)
    real = _real(value, words)
    if not 0 < real < math.inf:
        raise ValueError(words)
    return real


def choice(name: str, value: Any, options: Sequence[Any]) -> Any:
    """One of some options. Raises ValueError that lists them.

    Examples
    --------
    >>> choice("curvature", "newton", ("auto", "hessian"))
    Traceback (most recent call last):
    ...
    ValueError: curvature='newton' is unknown; use one of 'auto', 'hessian'
    """
    for option in options:  # `in` would compare an array elementwise, and True with 1
        if isinstance(value, type(option)) and value == option:
            return value
    raise ValueError(f"{name}={_shown(value)} is unknown; use one of {', '.join(map(repr, options))}")


def unknown(name: str, value: Any, known: Iterable[str], remedy: str = "") -> ValueError:
    """The error for a name that is none of those known: it says which one is near, and lists them all.

    Examples
    --------
    >>> print(unknown("solver", "L-BFGS", ["bfgs", "lbfgs"]))
    solver='L-BFGS' is unknown, did you mean 'lbfgs'? Use one of bfgs, lbfgs
    """
    names = list(known)
    plain = {_plain(one): one for one in reversed(names)}
    near = difflib.get_close_matches(_plain(str(value)), plain, n=1)
    guess = f", did you mean {plain[near[0]]!r}? Use" if near else "; use"
    return ValueError(f"{name}={_shown(value)} is unknown{guess} one of {', '.join(names)}{remedy}")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def flag(name: str, value: Any) -> bool:
    """True or False; "no" and 0 are neither. Raises TypeError.

    Examples
    --------
    >>> flag("throw", "no")
    Traceback (most recent call last):
    ...
    TypeError: throw='no' must be True or False
    """
    if not isinstance(value, bool | np.bool):
        raise TypeError(_words(name, value, "True or False"))
    return bool(value)


def takes_one(name: str, function: Any, of: str) -> None:
    """Raise TypeError where a function cannot be called with one argument.

    Examples
    --------
    >>> takes_one("callback", lambda: None, "a Step")
    Traceback (most recent call last):
    ...
    TypeError: callback must be a function of one argument, a Step
    """
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # it has no signature
        return
    except TypeError:
        raise TypeError(f"{name} must be a function of one argument, {of}") from None


def _real(value: Any, words: str) -> float:
    if isinstance(value, bool | np.bool) or not isinstance(value, numbers.Real):
        raise TypeError(words)
    return float(value)


def _words(name: str, value: Any, wanted: str, remedy: str = "") -> str:
    return f"{name}={_shown(value)} must be {wanted}{f'; {remedy}' if remedy else ''}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_HERE = os.path.dirname(__file__)


def stacklevel() -> int:
    """For `warnings.warn`: the line that called stiffgrad."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    return level


__all__ = ["choice", "flag", "number", "positive", "takes_one", "unknown", "whole"]
