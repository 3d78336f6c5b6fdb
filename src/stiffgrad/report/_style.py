"""The look of every picture: colours for the colour-blind, markers and dashes besides, labels beside the lines."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito (2008), "Color Universal Design"; their yellow is left out, being too pale for lines on white.
# Grey stands in its place.
COLOURS: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2, 2, 2)))
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")

INK, GREY, RULE = "#1b1f24", "#57606a", "#d0d7de"

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "svg.fonttype": "path",
    # Fixed, so that the same results give the same bytes.
    "svg.hashsalt": "stiffgrad",
}


class Look(NamedTuple):
    """How one series is drawn everywhere on a page; colour, dash and marker each tell it apart."""

    colour: str
    dash: Any
    marker: str


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each label, in their order."""
    kinds = (len(COLOURS), len(MARKERS))
    return {
        label: Look(COLOURS[i % kinds[0]], DASHES[(i + i // kinds[0]) % len(DASHES)], MARKERS[i % kinds[1]])
        for i, label in enumerate(dict.fromkeys(labels))
    }


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw with the look of the project, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches; it belongs to no window, so nothing has to be closed."""
    picture = Figure(figsize=(width, height))
    FigureCanvasAgg(picture)
    return picture


def place(picture: Figure, left: float, bottom: float, right: float, top: float, **shared: Any) -> Axes:
    """Axes whose edges are so many inches from the left and lower edge of the figure.

    matplotlib's layout engines draw a picture three times to find room for what stands beside the axes; here its
    size is known.
    """
    width, height = picture.get_size_inches()
    box = (left / width, bottom / height, (right - left) / width, (top - bottom) / height)
    return picture.add_axes(box, **shared)


def short(name: str) -> str:
    """A name that fits beside a picture.

    Examples
    --------
    >>> short("rosenbrock"), short("x" * 40)
    ('rosenbrock', 'xxxxxxxxxxxxxxxxxxxxxxxxxxx…')
    """
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def text_inches(texts: Iterable[str], size: float = 9) -> float:
    """Width of the longest text, in inches, from above: letters of DejaVu Sans are 0.6 em wide on average."""
    return max((len(short(text)) for text in texts), default=0) * 0.61 * size / 72


def image(picture: Figure, form: str) -> bytes:
    """The figure as "svg", "pdf" or "png", without the date: the same results give the same bytes."""
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
    buffer = io.BytesIO()
    with style():
        picture.savefig(buffer, format=form, dpi=160, metadata={**undated, "Creator": "stiffgrad"})
    return buffer.getvalue()


def data_uri(picture: Figure) -> str:
    """The figure as the `src` of an image, so that a page needs no second file."""
    return "data:image/svg+xml;base64," + base64.b64encode(image(picture, "svg")).decode("ascii")


LONGEST = 28  # letters of a name beside a picture; the tables have all of them
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(exponent: int) -> str:
    """A power of ten as text: 10⁻³.

    Examples
    --------
    >>> power(-3)
    '10⁻³'
    """
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def decade(value: float) -> str:
    """A number on a logarithmic axis: plain from 0.001 to 10,000, as a power of ten beyond.

    Examples
    --------
    >>> decade(0.01), decade(1e-6), decade(1000)
    ('0.01', '10⁻⁶', '1,000')
    """
    if not np.isfinite(value) or value <= 0:
        return ""
    if 0.000999 < value < 10001:
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"
    exponent = np.log10(value)
    return power(round(exponent)) if abs(exponent - round(exponent)) < 1e-6 else f"{value:.0e}"


def log_axis(axes: Axes, which: str, powers: bool = False) -> None:
    """Make the axis "x" or "y" logarithmic, with few and readable ticks; its limits must be set before."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    narrow = 0 < low < high < 150 * low
    box = axes.get_window_extent()
    # A label of a horizontal axis takes half an inch, one of a vertical axis a third.
    inches = (box.width / 0.55 if which == "x" else box.height / 0.35) / axes.figure.dpi
    few = max(int(inches), 2)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow and few > 4 else (1,), numticks=min(few, 8)))
    axis.set_minor_formatter(NullFormatter())
    written = (
        (lambda value, _: power(round(np.log10(value)))) if powers and not narrow else (lambda value, _: decade(value))
    )
    axis.set_major_formatter(FuncFormatter(written))


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions of labels, moved apart to at least `gap` and kept within [low, high], in their order.

    Examples
    --------
    >>> [round(p, 6) for p in spread([0.5, 0.5], 0.1, 0.0, 1.0)]
    [0.45, 0.55]
    """
    if not positions:
        return []
    order = np.argsort(positions, kind="stable")
    gap = min(gap, (high - low) / max(len(positions) - 1, 1))
    # Least squares under "each at least a gap above the one below": isotonic regression of what is left of the gaps.
    wanted = np.asarray(positions, float)[order] - gap * np.arange(len(positions))
    blocks: list[list[float]] = []
    for value in wanted:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            tail = blocks.pop()
            blocks[-1] += tail
    fitted = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    fitted = np.clip(fitted, low, high - gap * (len(positions) - 1)) + gap * np.arange(len(positions))
    placed = np.empty(len(positions))
    placed[order] = fitted
    return placed.tolist()


def label_ends(axes: Axes, ends: Sequence[tuple[str, float, float, Look]], size: float = 9) -> None:
    """Name each line at the right edge, at the height of its end, joined to it by a thin line.

    Parameters
    ----------
    axes : Axes
        With its limits and scales already set.
    ends : sequence of (name, x, y, Look)
        Where each line ends, in data coordinates.
    size : float
        Font size in points.
    """
    axes.get_xlim(), axes.get_ylim()  # brings limits that follow from the data up to date
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [to_axes.transform((x, y)) for _, x, y, _ in ends]
    box = axes.get_window_extent()
    gap = 1.45 * size / 72 * axes.figure.dpi / max(box.height, 1)
    heights = spread([float(np.clip(point[1], 0, 1)) for point in points], gap, 0.0, 1.0)
    for (name, x, y, look), height in zip(ends, heights, strict=True):
        axes.annotate(
            short(name),
            xy=(x, y),
            xytext=(1.06, height),
            textcoords="axes fraction",
            va="center",
            ha="left",
            fontsize=size,
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": look.colour,
                "linewidth": 0.6,
                "alpha": 0.7,
                "shrinkA": 7,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )
        axes.plot(
            [1.035], [height], transform=axes.transAxes, clip_on=False, marker=look.marker, color=look.colour, zorder=5
        )
