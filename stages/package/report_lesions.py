"""The report on lesions as instances: sensitivity against false positives a scan."""

from __future__ import annotations

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from stages.package.charts import COLORS, INK, Rows, style, svg
from stages.package.document import SVG, Figure, Section, show, table
from stages.package.measured import Facts, interval_name, looks_text
from stages.package.results import Results


def test(results: Results, facts: Facts) -> Section:
    """Detection on the locked test split."""
    rows = [
        {
            "rate": "mean of these (CPM)" if row["false_positives"] is None else _rate(row),
            "sensitivity": row["sensitivity"],
            "interval": "–"
            if row["ci_low"] is None or row["ci_high"] is None
            else f"{row['ci_low']:.3f} to {row['ci_high']:.3f}",
        }
        for row in results.froc
    ]
    heads = {
        "rate": "False positives a scan",
        "sensitivity": "Sensitivity",
        "interval": interval_name(facts),
    }
    (cpm,) = (row["sensitivity"] for row in results.froc if row["false_positives"] is None)
    return Section(
        "lesion-test",
        "Lesions as instances on the locked test split",
        (looks_text(facts),),
        tables=(table("Sensitivity at rates of false positives", rows, heads),),
        figures=(
            Figure(
                SVG,
                curve(results.froc, results.froc_curve),
                f"Free-response curve; mean sensitivity (CPM) {show(cpm)}.",
                "Free-response (FROC) curve: share of the lesions found over the mean number of "
                f"false candidates a scan; {interval_name(facts)} by bootstrap over subjects.",
            ),
        ),
    )


def curve(points: Rows, line: Rows) -> bytes:
    """Sensitivity over false positives a scan (logarithmic), with intervals at the seven rates."""
    told = [row for row in points if row["false_positives"] and row["sensitivity"] is not None]
    rates = [row["false_positives"] for row in points if row["false_positives"]]
    with style():
        canvas = Canvas(figsize=(6, 3.4), layout="constrained")
        axes = canvas.subplots()
        steps = [(row["false_positives"], row["sensitivity"]) for row in line]
        x = [max(alarms, rates[0] / 2) for alarms, _ in steps]
        axes.step(x, [value for _, value in steps], where="post", color=COLORS[0], lw=1.8)
        for row in told:
            if row["ci_low"] is not None and row["ci_high"] is not None:
                ends = [row["ci_low"], row["ci_high"]]
                axes.plot([row["false_positives"]] * 2, ends, color=INK, lw=1.4)
            axes.plot([row["false_positives"]], [row["sensitivity"]], "D", color=INK, ms=4)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(rates))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{rate:g}" for rate in rates]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(
            xlabel="False positives a scan",
            ylabel="Sensitivity",
            xlim=(rates[0] / 2, rates[-1] * 1.2),
            ylim=(-0.02, 1.02),
        )
        return svg(canvas)


def _rate(row: dict[str, float]) -> str:
    return f"{row['false_positives']:g}"
