"""A report as data (sections → texts, tables, figures), and its one rendering to HTML.

Rules:

- DOC-1  A document stands alone: pictures are embedded, nothing is fetched, no script runs; a
         content security policy says so to the browser.
- DOC-2  Every text is escaped: a value from a header or a parameter cannot become markup.
- DOC-3  Every picture has a text that says what it shows.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

SVG, PNG = "image/svg+xml", "image/png"


@dataclass(frozen=True)
class Table:
    """Rows of a table as they are shown."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    """Columns set flush right."""
    marked: int | None = None
    """The row that stands out."""


@dataclass(frozen=True)
class Figure:
    """A picture with what it shows."""

    media: str
    """`SVG` or `PNG`."""
    data: bytes
    alt: str
    caption: str
    wide: bool = True

    @property
    def source(self) -> str:
        """The picture as a `data:` address."""
        return f"data:{self.media};base64,{b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Tile:
    """One figure that a reader looks for first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the report."""

    name: str
    """Anchor."""
    title: str
    texts: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    lead: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    footer: str
    label: str = "Intended use."
    """What the lead is."""


def render(document: Document) -> bytes:
    """The document as one HTML file in UTF-8."""
    from jinja2 import Environment, StrictUndefined

    folder = files("stages.package")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "report.html").read_text("utf-8"))
    style = (folder / "report.css").read_text("utf-8")
    return template.render(document=document, style=style).encode()


def table(
    caption: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, mark: str = ""
) -> Table:
    """Make a table of rows.

    Args:
        caption: its heading.
        rows: name → value.
        columns: name → heading, in the order shown.
        mark: a column whose first true value marks its row.
    """
    marks = [index for index, row in enumerate(rows) if mark and row[mark]]
    numeric = {
        index
        for index, name in enumerate(columns)
        if not any(isinstance(row[name], bool | str) for row in rows)
    }
    return Table(
        caption=caption,
        columns=tuple(columns.values()),
        rows=tuple(tuple(show(row[name]) for name in columns) for row in rows),
        numeric=frozenset(numeric),
        marked=marks[0] if marks else None,
    )


_SMALL, _LARGE = 1e-3, 1e3
"""Numbers in between are written with three decimals."""


def show(value: Any) -> str:
    """A value as the report writes it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value and abs(value) < _SMALL:
            return f"{value:.0e}"
        return f"{value:.3f}" if abs(value) < _LARGE else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
