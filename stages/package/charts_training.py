"""Charts of the training: scores over epochs, and over the number of labeled subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, NullLocator

from stages.package.charts import COLORS, Rows, style, svg

_MARKERS = "osD^vPX"
_DASHES = ("-", "--", ":", "-.")
_APART = 1.06
"""Between the first and the last variant at one number of labels, so that none hides another."""


def over_epochs(histories: Mapping[str, Rows], pretraining: Mapping[str, Rows]) -> bytes:
    """Loss and validation score over epochs, a line a variant; pre-training has its own panel.

    Args:
        histories: variant → its epochs; one that is not trained has none, and no line.
        pretraining: self-supervised method → its epochs.
    """
    panels = [
        ("Pre-training loss", "loss", pretraining),
        ("Training loss", "loss", histories),
        ("Validation score", "score", histories),
    ]
    panels = [panel for panel in panels if any(panel[2].values())]
    with style():
        canvas = Canvas(figsize=(9, 3.2), layout="constrained")
        axes_of = canvas.subplots(1, max(1, len(panels)), squeeze=False)[0]
        for axes, (title, column, shown) in zip(axes_of, panels, strict=False):
            for index, (name, rows) in enumerate(shown.items()):
                points = [(r["epoch"], r[column]) for r in rows if r[column] is not None]
                if not points:
                    continue
                x, y = zip(*points, strict=True)
                axes.plot(x, y, label=name, markevery=max(1, len(x) // 10), **_mark(index))
            last = max(row["epoch"] for rows in shown.values() for row in rows)
            axes.set(title=title, xlabel="Epoch", xlim=(0, last * 1.03))
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            if shown is pretraining:
                axes.legend()
            elif column == "score":
                canvas.legend(
                    *axes.get_legend_handles_labels(), loc="outside lower center", ncols=4
                )
        return svg(canvas)


def over_labels(curves: Rows) -> bytes:
    """Validation score over the number of labeled subjects: the mean over seeds, and its range."""
    names = list(dict.fromkeys(row["variant"] for row in curves))
    counts = sorted({row["labels"] for row in curves})
    with style():
        canvas = Canvas(figsize=(9, 3.6), layout="constrained")
        axes = canvas.subplots()
        for index, name in enumerate(names):
            own = sorted(
                (row for row in curves if row["variant"] == name), key=lambda row: row["labels"]
            )
            place = (index - (len(names) - 1) / 2) / max(1, len(names) - 1)
            spread = [
                [max(0.0, row["score"] - row["lowest"]) for row in own],
                [max(0.0, row["highest"] - row["score"]) for row in own],
            ]
            x = [row["labels"] * _APART**place for row in own]
            y = [row["score"] for row in own]
            axes.errorbar(x, y, yerr=spread, label=name, capsize=3, **_mark(index))
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(value) for value in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="Labeled subjects in training", ylabel="Validation score")
        if names:
            canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return svg(canvas)


def _mark(index: int) -> dict[str, Any]:
    """How a line is drawn: no two of the first 28 alike, in color or without."""
    turn, place = divmod(index, len(COLORS))
    return {
        "color": COLORS[place],
        "marker": _MARKERS[place],
        "linestyle": _DASHES[turn % len(_DASHES)],
        "markersize": 4,
        "linewidth": 1.6,
    }
