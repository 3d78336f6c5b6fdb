"""CSV files as tables of text, and text as numbers and dates: what is recognised is said, what is unclear is asked for.

pandas reads; what it would guess or mend in silence (rows longer than the header, names that occur twice, numbers that
overflow, one word among numbers) is looked at here and named.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stiffgrad import _archive

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MARKS = ("?", "-", "--", ".", "*", "na", "n.a.", "none", "null", "missing", "unknown")  # beside pandas' own
FEW = 10  # numbers with no more different values may be codes, and text beside them another code
LARGEST = 1e150  # squares of larger numbers overflow
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_WORDS = r"(?i:nan|[+-]?inf(?:inity)?)"
# A number with a decimal point, thousands perhaps set apart by commas, blanks or apostrophes; and the other way round.
_POINT = re.compile(
    rf"[+-]?(?:(?:\d+|[1-9]\d{{0,2}}(?:[,'\u00a0\u202f ]\d{{3}})+)(?:\.\d*)?|\.\d+){_EXPONENT}|{_WORDS}"
)
_COMMA = re.compile(rf"[+-]?(?:(?:\d+|[1-9]\d{{0,2}}(?:[.'\u00a0\u202f ]\d{{3}})+)(?:,\d*)?|,\d+){_EXPONENT}|{_WORDS}")
_SEPARATORS = re.compile("['\u00a0\u202f ]")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
# What stands beside every number of a column: a currency, a percent sign, or a blank and a unit.
_BESIDE = re.compile(r"(?P<before>[$€£¥]?)\s*(?P<number>[+-]?\d[\d.,' ]*?)(?P<after>\s*[%$€£¥]|\s+[a-zA-Z°µ]{1,3})?")
_DAY = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})")


def read(path: Path, delimiter: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """A CSV file as columns of text (missing values NaN), and what was recognised, in words.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; or it is no table, with the row and the remedy.
    """
    if not path.is_file():
        raise FileNotFoundError(f"data file {path} does not exist, or is no file")
    if delimiter is not None and delimiter not in DELIMITERS:
        known = ", ".join(f"{symbol!r} ({name})" for symbol, name in DELIMITERS.items())
        raise ValueError(f"delimiter={delimiter!r} must be one of {known}")
    try:
        header, found = _structure(path, delimiter)
        frame = pd.read_csv(path, sep=found, dtype=str, index_col=False, encoding="utf-8-sig", skipinitialspace=True)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): save it so") from None
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is not a CSV file with a header line: {error}") from None
    frame.columns = pd.Index(header)
    notes = [] if found == "," else [f"columns are separated by a {DELIMITERS[found]}"]
    return frame, notes


def _structure(path: Path, delimiter: str | None) -> tuple[list[str], str]:
    """The header, and the delimiter with which every row has as many fields as it."""
    wrong: dict[str, str] = {}
    right: dict[str, list[str]] = {}
    for candidate in DELIMITERS if delimiter is None else (delimiter,):
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = (row for row in csv.reader(lines, delimiter=candidate, strict=True, skipinitialspace=True) if row)
            header = [name.strip() for name in next(rows, [])]
            if not header:
                raise ValueError(f"{path} is not a CSV file with a header line: it is empty")
            uneven = next(((n, len(row)) for n, row in enumerate(rows, 2) if len(row) != len(header)), None)
        if uneven is None:
            right[candidate] = header
        else:
            wrong[candidate] = f"row {uneven[0]} has {uneven[1]} fields and the header has {len(header)}"
    split = [candidate for candidate, header in right.items() if len(header) > 1]
    if len(split) > 1:
        raise ValueError(f"{path}: columns may be separated by {' or '.join(map(repr, split))}: give --delimiter")
    if not split and wrong:
        symbol, words = next(iter(wrong.items()))
        raise ValueError(f"{path}: with {symbol!r} between columns, {words}: correct that row, or give --delimiter")
    symbol = split[0] if split else next(iter(right))
    return _header(path, right[symbol]), symbol


def _header(path: Path, names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1 and name})
    if twice:
        raise ValueError(f"{path}: the column {twice[0]!r} occurs twice: rename or remove one")
    if all(_POINT.fullmatch(name) for name in names):
        raise ValueError(f"{path}: the first line holds numbers: add a header line with the names of the columns")
    return [name or f"column {number} without a name" for number, name in enumerate(names, 1)]


def decimal_of(columns: Iterable[pd.Series], given: str | None = None) -> str:
    """The decimal sign, "." or ",", of the numbers in columns of text. Raises ValueError where it is not clear."""
    if given is not None:
        if given not in (".", ","):
            raise ValueError(f"decimal={given!r} must be '.' or ','")
        return given
    unclear = ""
    seen: set[str] = set()
    for column in columns:
        values = _values(column)
        fits = [(bool(_POINT.fullmatch(value)), bool(_COMMA.fullmatch(value))) for value in values]
        if (False, False) in fits:
            continue  # text
        seen |= {"." if point else "," for point, comma in fits if point != comma}
        both = [value for value, (point, comma) in zip(values, fits, strict=True) if point and comma and "," in value]
        unclear = unclear or (f"column {column.name!r} holds {both[0]!r}" if both else "")
    if len(seen) > 1:
        raise ValueError("some numbers have a decimal point and some a decimal comma: correct them, or give --decimal")
    if unclear and not seen:
        raise ValueError(f"{unclear}, which may be a thousand and more, or a decimal comma: give --decimal . or ,")
    return seen.pop() if seen else "."


def _texts(column: pd.Series) -> list[str | None]:
    """Values without blanks around them; None where there is none."""
    return [None if missing or not str(v).strip() else str(v).strip() for v, missing in zip(column, column.isna())]


def _is_mark(value: str | None) -> bool:
    return value is not None and value.lower() in MARKS


def _values(column: pd.Series) -> list[str]:
    return [value for value in _texts(column) if value is not None and not _is_mark(value)]


def numbers(column: pd.Series, decimal: str, must: bool = False) -> tuple[pd.Series | None, str]:
    """A column of text as numbers, marks such as "?" as missing values, with what to say about it; None: it is text.

    Raises
    ------
    ValueError
        Where it holds numbers and some text beside them, or must hold numbers and does not.
    """
    texts = _texts(column)
    pattern = _POINT if decimal == "." else _COMMA
    good = {value for value in texts if value is not None and pattern.fullmatch(value)}
    bad = [(row, v) for row, v in zip(column.index, texts) if v is not None and v not in good and not _is_mark(v)]
    if bad or not good:
        count = sum(value in good for value in texts)
        if bad and (must or (count > len(bad) and len(good) > FEW)):
            row, value = bad[0]
            where = f"row {row + 2 if isinstance(row, int) else row}"  # of the file, whose header is row 1
            raise ValueError(
                f"column {column.name!r} must hold numbers alone, and {len(bad)} of its values are none, such as "
                f"{value!r} in {where}: correct them, or leave those fields empty"
            )
        _check_units(column.name, [value for _, value in bad])
        return None, ""
    marks = sorted({value for value in texts if value is not None and value not in good})
    note = f"{column.name}: {', '.join(map(repr, marks))} taken as missing" if marks else ""
    plain = [_plain(value, decimal) if value in good else None for value in texts]
    return pd.Series(_converted(plain), index=column.index, name=column.name), note


def _check_units(name: Any, texts: Sequence[str]) -> None:
    """Refuse numbers with a unit beside each: as text every one would be a category of its own."""
    found = [_BESIDE.fullmatch(value) for value in texts]
    units = {(match["before"], (match["after"] or "").strip()) for match in found if match}
    if all(found) and len(set(texts)) > FEW and units != {("", "")}:
        shown = ", ".join(sorted({repr(before or after) for before, after in units} - {"''"}))
        raise ValueError(
            f"column {name!r} holds numbers with {shown} beside them, such as {texts[0]!r}: leave that out"
        )


def _plain(value: str | None, decimal: str) -> str:
    value = _SEPARATORS.sub("", str(value))
    return value.replace(",", "") if decimal == "." else value.replace(".", "").replace(",", ".")


def _converted(plain: Sequence[str | None]) -> np.ndarray[Any, Any]:
    """int64 where all are whole numbers that fit, else float64."""
    whole = all(value is not None and re.fullmatch(r"[+-]?\d{1,19}", value) for value in plain)
    if whole and all(-(2**63) <= int(str(value)) < 2**63 for value in plain):
        return np.array([int(str(value)) for value in plain], np.int64)
    return np.array([np.nan if value is None else float(value) for value in plain])


def date_format(column: pd.Series) -> str | None:
    """How the dates in a column of text are written; None where they are no dates.

    Raises
    ------
    ValueError
        Where day and month cannot be told apart.
    """
    values = _values(column)
    if not values:
        return None
    if all(_ISO.fullmatch(value) for value in values):
        return "ISO8601"
    found = [_DAY.fullmatch(value) for value in values]
    if not all(found):
        return None
    parts = [match for match in found if match]
    sign = parts[0][2]
    day_first, month_first = (any(int(match[group]) > 12 for match in parts) for group in (1, 3))
    if sign == "." or day_first > month_first:
        return f"%d{sign}%m{sign}%Y"
    if month_first > day_first:
        return f"%m{sign}%d{sign}%Y"
    raise ValueError(
        f"column {column.name!r} holds dates such as {values[0]!r}, whose day and month cannot be told apart: write "
        "them as 2024-12-31"
    )


def days(column: pd.Series, form: str) -> pd.Series:
    """Dates as days since 1970-01-01. Raises ValueError for what is none."""
    texts = [None if _is_mark(value) else value for value in _texts(column)]
    try:
        seen = pd.to_datetime(pd.Series(texts, index=column.index, dtype="object"), format=form, utc=True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"column {column.name!r} must hold dates as when the model was fitted: {error}") from None
    return (seen - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a table, whole or not at all; text that a spreadsheet would run gets an apostrophe before it."""
    safe = frame.rename(columns=escaped)
    for name in safe:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(escaped)
    with _archive.replacing(path) as file:
        safe.to_csv(file, index=False)


def escaped(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula; numbers stay.

    Examples
    --------
    >>> escaped("=1+1"), escaped("-3.5"), escaped("up")
    ("'=1+1", '-3.5', 'up')
    """
    if not isinstance(value, str) or not value.startswith(FORMULA) or _POINT.fullmatch(value):
        return value
    return f"'{value}"


def unlike(name: str, taken: Sequence[str]) -> str:
    """A name for a new column that none of the others has.

    Examples
    --------
    >>> unlike("standard deviation", ["standard deviation"])
    'standard deviation (2)'
    """
    if name not in taken:
        return name
    return next(other for number in itertools.count(2) if (other := f"{name} ({number})") not in taken)
