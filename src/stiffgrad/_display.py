"""How results show in a notebook: a small table, and pictures that the colour-blind can read."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from stiffgrad._extras import require

# Okabe and Ito (2008), "Color Universal Design".
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def table(title: str, rows: Mapping[str, str], note: str = "") -> str:
    """A titled table of two columns, and a note below, as HTML with everything escaped.

    Examples
    --------
    >>> table("A", {"b": "<c>"})
    '<table><caption><b>A</b></caption><tr><th>b</th><td>&lt;c&gt;</td></tr></table>'
    """
    body = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items())
    below = f"<p>{html.escape(note)}</p>" if note else ""
    return f"<table><caption><b>{html.escape(title)}</b></caption>{body}</table>{below}"


def figure(columns: int, what: str) -> tuple[Any, Any]:
    """A figure of pyplot with so many axes in a row. Raises ImportError without matplotlib."""
    pyplot = require("matplotlib.pyplot", "report", what)
    made, axes = pyplot.subplots(1, columns, figsize=(5.0 * columns, 3.6), layout="constrained", squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e6e9ed", linewidth=0.7)
    return made, list(axes[0])
