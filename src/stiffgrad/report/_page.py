"""Building blocks of a page, and the one function that makes self-contained HTML of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import jinja2
from matplotlib.figure import Figure

from stiffgrad.report._style import data_uri


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph; `small` for remarks."""

    kind: ClassVar[str] = "text"
    words: str
    small: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with what it shows in words (`alt`) and how to read it (`caption`).

    `narrow`, where given, is drawn for a phone and shown there instead.
    """

    kind: ClassVar[str] = "picture"
    figure: Figure
    alt: str
    caption: str
    narrow: Figure | None = None

    @property
    def source(self) -> str:
        """The picture as text that an `img` can show."""
        return data_uri(self.figure)

    @property
    def narrow_source(self) -> str:
        """The same for a phone; empty without one."""
        return "" if self.narrow is None else data_uri(self.narrow)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Pictures side by side, below each other where the window is narrow."""

    kind: ClassVar[str] = "pair"
    pictures: Sequence[Picture]


@dataclasses.dataclass(frozen=True)
class Value:
    """An entry of a table: `strong` for the best, `quiet` for what matters less; `wide` entries are prose."""

    text: str
    strong: bool = False
    quiet: bool = False
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Line:
    """A row with its head; `first` draws a rule above, where a group begins."""

    head: str
    values: Sequence[Value]
    first: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that scrolls within its box; `groups` are (name or "", columns) above all columns but the head's."""

    kind: ClassVar[str] = "table"
    caption: str
    head: str
    columns: Sequence[str]
    rows: Sequence[Line]
    groups: Sequence[tuple[str, int]] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Code:
    """Commands to copy."""

    kind: ClassVar[str] = "code"
    text: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """A list of sentences."""

    kind: ClassVar[str] = "list"
    items: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    words: str


Block: TypeAlias = Text | Picture | Pair | Table | Code | Listing | Heading


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page with its heading; `anchor` is where links point."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The title as an HTML id."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def render(title: str, subtitle: str, lead: str, sections: Sequence[Section], footer: str = "") -> str:
    """One HTML page with everything inside: no script, no second file, nothing from the net.

    Parameters
    ----------
    title, subtitle : str
        The heading, and the line below it.
    lead : str
        What the page found, in a sentence or two.
    sections : sequence of Section
        The parts in order; each is linked at the top.
    footer : str
        A closing line.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stiffgrad.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(title=title, subtitle=subtitle, lead=lead, sections=sections, footer=footer)
