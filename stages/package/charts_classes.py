"""Charts of class answers: ROC curves with their bands, and who was taken for what."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from stages.package.charts import COLORS, INK, SOFT, Rows, style, svg


def roc(curves: Rows) -> bytes:
    """Sensitivity over false-positive rate, a panel a class, its band over subjects shaded."""
    names = list(dict.fromkeys(row["class"] for row in curves))
    with style():
        canvas = Canvas(figsize=(max(3.2, 3 * len(names)), 3.2), layout="constrained")
        panels = canvas.subplots(1, max(1, len(names)), sharey=True, squeeze=False)[0]
        for index, (axes, name) in enumerate(zip(panels, names, strict=False)):
            own = [row for row in curves if row["class"] == name]
            x = [row["false_positive_rate"] for row in own]
            color = COLORS[index % len(COLORS)]
            banded = [row for row in own if row["ci_low"] is not None]
            axes.fill_between(
                [row["false_positive_rate"] for row in banded],
                [row["ci_low"] for row in banded],
                [row["ci_high"] for row in banded],
                color=color,
                alpha=0.2,
                lw=0,
            )
            axes.plot(x, [row["sensitivity"] for row in own], color=color, lw=1.8)
            axes.plot([0, 1], [0, 1], color=SOFT, lw=0.8, ls="--")
            axes.set(title=name, xlabel="False-positive rate", xlim=(-0.02, 1.02))
            axes.set_aspect("equal")
        panels[0].set(ylabel="Sensitivity", ylim=(-0.02, 1.02))
        return svg(canvas)


def confusion(cases: Rows, names: Sequence[str]) -> bytes:
    """Cases by class (rows) and answer (columns), shaded by share of the class."""
    counts = {(row["reference"], row["predicted"]): row["cases"] for row in cases}
    side = 1.6 + 0.7 * len(names)
    with style():
        canvas = Canvas(figsize=(side + 1.2, side), layout="constrained")
        axes = canvas.subplots()
        shares = []
        for truth in names:
            whole = sum(counts.get((truth, said), 0) for said in names)
            shares.append([counts.get((truth, said), 0) / max(whole, 1) for said in names])
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, truth in enumerate(names):
            for column, said in enumerate(names):
                dark = shares[row][column] > 0.5
                axes.text(
                    column,
                    row,
                    f"{counts.get((truth, said), 0)}\n{100 * shares[row][column]:.0f} %",
                    ha="center",
                    va="center",
                    color="white" if dark else INK,
                )
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="Answer", ylabel="Class")
        axes.grid(visible=False)
        return svg(canvas)
