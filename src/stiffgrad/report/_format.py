"""Numbers as readers want them: three digits at most, units, and a dash for what is not known."""

from __future__ import annotations

import math

DASH = "–"


def number(value: float, digits: int = 3) -> str:
    """A plain number with few digits; scientific beyond 1e-3 and 1e6.

    Examples
    --------
    >>> number(0.123456), number(1.5e-7), number(float("nan")), number(12345)
    ('0.123', '1.50e-7', '–', '12,345')
    """
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def count(value: float) -> str:
    """A whole number with thousands apart; a dash where the solver cannot tell.

    Examples
    --------
    >>> count(12345.0), count(float("nan")), count(2.5)
    ('12,345', '–', '2.5')
    """
    if not math.isfinite(value):
        return DASH
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.1f}"


def duration(seconds: float, at_least: bool = False) -> str:
    """A time with its unit; `at_least` marks a lower bound.

    Examples
    --------
    >>> duration(0.00123), duration(0.0999), duration(2.345), duration(30, at_least=True), duration(600)
    ('1.2 ms', '0.1 s', '2.3 s', '>30 s', '600 s')
    """
    if not math.isfinite(seconds):
        return DASH
    if 0 < seconds < 0.0995:
        text = f"{1e3 * seconds:.2g} ms"
    elif seconds < 9.95:
        text = f"{seconds:.2g} s"
    else:
        text = f"{seconds:,.0f} s"
    return f">{text}" if at_least else text


def ratio_text(value: float, at_least: bool = False) -> str:
    """How many times the best.

    Examples
    --------
    >>> ratio_text(1.0), ratio_text(3.14159), ratio_text(250.3, at_least=True)
    ('1×', '3.1×', '>250×')
    """
    if not math.isfinite(value):
        return DASH
    text = f"{value:.2g}" if value < 99.5 else f"{value:,.0f}"
    return f"{'>' if at_least else ''}{text}×"


def percent(value: float) -> str:
    """A share of one as a percentage.

    Examples
    --------
    >>> percent(0.9722), percent(1.0)
    ('97.2%', '100%')
    """
    return DASH if not math.isfinite(value) else f"{100 * value:.3g}%"
