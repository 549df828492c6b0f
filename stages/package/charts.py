"""Charts of the report: from rows to pictures whose bytes depend on the rows alone.

Rules:

- CHA-1  The same rows give the same bytes: matplotlib's own fonts and defaults (no configuration
         file, no font of the host), no clock, no program's name, a fixed salt.
- CHA-2  Text is drawn as it stands; nothing in it is read as a formula.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure as Canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c5c5c")
"""Okabe and Ito's palette, told apart without color vision (jfly.uni-koeln.de/color)."""
INK, SOFT = "#1b2733", "#8a97a5"
DPI = 144
_LONGEST = 28
"""Characters of a label beside an axis."""


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this (CHA-1, CHA-2)."""
    own = Path(mpl.get_data_path()).resolve()
    fonts = font_manager.fontManager.ttflist
    font_manager.fontManager.ttflist = [
        font for font in fonts if Path(font.fname).resolve().is_relative_to(own)
    ]
    try:
        with mpl.rc_context(), warnings.catch_warnings():
            # A vendor's name in another script is drawn as boxes; the tables have it in full.
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            settings: Any = mpl.rcParams
            settings.update(mpl.rcParamsDefault)
            settings.update(_STYLE)
            yield
    finally:
        font_manager.fontManager.ttflist = fonts


def svg(canvas: Canvas) -> bytes:
    """The drawing as SVG, its text as outlines."""
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    canvas.savefig(buffer, format="svg", metadata=nothing)
    return buffer.getvalue()


def png(canvas: Canvas) -> bytes:
    """The drawing as PNG."""
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def results(metrics: Rows, scores: Rows) -> bytes:
    """Dice of each structure: mean with confidence interval by group, a faint dot a series."""
    structures = list(dict.fromkeys(row["structure"] for row in metrics))
    groups = list(dict.fromkeys(row["group"] for row in metrics))
    with style():
        size = (9, 0.9 + 0.42 * len(groups))
        canvas = Canvas(figsize=size, layout="constrained")
        panels = canvas.subplots(1, len(structures), sharey=True, squeeze=False)[0]
        for index, (axes, structure) in enumerate(zip(panels, structures, strict=True)):
            own = {r["group"]: r for r in metrics if r["structure"] == structure}
            dots = [r for r in scores if r["structure"] == structure and r["dice"] is not None]
            _whiskers(axes, groups, own, dots, COLORS[index % len(COLORS)])
            axes.set(title=structure, xlabel="Dice", xlim=(-0.02, 1.02))
        panels[0].set_yticks(range(len(groups)), [_short(name_of(group)) for group in groups])
        panels[0].set_ylim(len(groups) - 0.5, -0.5)
        return svg(canvas)


def agreement(rows: Rows) -> bytes:
    """Dice between readers: a dot a series and pair, the median as a bar."""
    pairs = sorted({(r["structure"], r["reader_a"], r["reader_b"]) for r in rows})
    with style():
        canvas = Canvas(figsize=(9, 0.9 + 0.34 * len(pairs)), layout="constrained")
        axes = canvas.subplots()
        for place, pair in enumerate(pairs):
            values = sorted(
                r["dice"]
                for r in rows
                if (r["structure"], r["reader_a"], r["reader_b"]) == pair and r["dice"] is not None
            )
            color = COLORS[sorted({p[0] for p in pairs}).index(pair[0]) % len(COLORS)]
            axes.plot(values, [place] * len(values), "o", color=color, alpha=0.35, ms=5, mew=0)
            if values:
                axes.plot([values[len(values) // 2]], [place], "|", color=INK, ms=14, mew=2)
        axes.set_yticks(range(len(pairs)), [f"{s}: {a} – {b}" for s, a, b in pairs])
        axes.set(xlabel="Dice between two readers", xlim=(-0.02, 1.02))
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        return svg(canvas)


def latency(seconds: Mapping[str, float]) -> bytes:
    """Seconds a series on each target, shorter is better."""
    with style():
        canvas = Canvas(figsize=(9, 0.8 + 0.36 * len(seconds)), layout="constrained")
        axes = canvas.subplots()
        names = list(seconds)
        bars = axes.barh(range(len(names)), list(seconds.values()), height=0.6, color=COLORS[0])
        axes.bar_label(bars, [f" {value:.3g} s" for value in seconds.values()])
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="Seconds")
        axes.margins(x=0.12)
        axes.invert_yaxis()
        return svg(canvas)


def name_of(group: str) -> str:
    """A group of the metrics as a reader reads it."""
    return "All series" if group == "all" else group.removeprefix("vendor=") or "Vendor unknown"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _whiskers(
    axes: Axes, groups: Sequence[str], own: Mapping[str, Any], dots: Rows, color: str
) -> None:
    for place, group in enumerate(groups):
        inside = [r["dice"] for r in dots if group in ("all", f"vendor={r['vendor']}")]
        axes.plot(sorted(inside), [place] * len(inside), "o", color=color, alpha=0.25, ms=5, mew=0)
        row = own.get(group)
        if row is None or row["dice_mean"] is None:
            continue
        if row["ci_low"] is not None and row["ci_high"] is not None:
            axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=INK, lw=1.6)
        axes.plot([row["dice_mean"]], [place], "D", color=INK, ms=5)


_STYLE: dict[str, Any] = {
    "backend": "agg",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e8ed",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "svg.hashsalt": "kette",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
}
