"""The report on classes: how many cases there are, how readers agree, how well the answers do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from stages.package import charts, charts_classes
from stages.package.document import SVG, Figure, Section, Table, Tile, show, table
from stages.package.measured import Facts, interval_name, looks_text
from stages.package.results import Results

_ALL = "all"
_METRICS = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
}


def tiles(results: Results, facts: Facts) -> Iterator[Tile]:
    """The mean AUC over classes, and each class's."""
    for row in results.class_metrics:
        if row["group"] == _ALL and row["metric"] == "auc":
            what = "mean of classes" if row["class"] == _ALL else row["class"]
            yield Tile(
                f"AUC, {what}",
                show(row["value"]),
                f"{interval_name(facts)} {_interval(row)}, {row['cases']} cases",
            )


def cohort(results: Results) -> tuple[Table, ...]:
    """Cases by split and class; how the readers agree on the class."""
    if not results.classes:
        return ()
    split_of = {row["subject"]: row["split"] for row in results.splits}
    counted = Counter((split_of[r["subject"]], r["class"]) for r in results.classes if r["class"])
    names = sorted({name for _, name in counted})
    splits = [
        {"split": split, **{name: counted[split, name] for name in names}}
        for split in ("train", "validation", "test")
    ]
    pairs: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in results.class_agreement:
        pairs[row["reader_a"], row["reader_b"]].append(row["label_a"] == row["label_b"])
    readers = [
        {"readers": f"{a} – {b}", "cases": len(same), "share": sum(same) / len(same)}
        for (a, b), same in sorted(pairs.items())
    ]
    heads = {"readers": "Readers", "cases": "Cases", "share": "Share of equal labels"}
    return (
        table("Cases by split and class", splits, {"split": "Split"} | {n: n for n in names}),
        table("Agreement of the readers on the class", readers, heads),
    )


def test(results: Results, facts: Facts) -> Section:
    """Answers on the locked test split."""
    metrics: list[dict[str, Any]] = [
        {
            **row,
            "group": charts.name_of(row["group"]).replace("series", "cases"),
            "class": "all" if row["class"] == _ALL else row["class"],
            "metric": _METRICS.get(row["metric"], row["metric"]),
            "interval": _interval(row),
        }
        for row in results.class_metrics
    ]
    heads = {
        "group": "Group",
        "class": "Class",
        "metric": "Metric",
        "cases": "Cases",
        "n": "Subjects",
        "value": "Value",
        "interval": interval_name(facts),
    }
    names = list(dict.fromkeys(row["reference"] for row in results.confusion))
    areas = ", ".join(
        f"{row['class']} {show(row['value'])}"
        for row in results.class_metrics
        if row["group"] == _ALL and row["metric"] == "auc" and row["class"] != _ALL
    )
    figures = [
        Figure(
            SVG,
            charts_classes.confusion(results.confusion, names),
            "How many test cases of each class were given which class.",
            "Confusion matrix: the most probable class of each test case, shares of the class.",
            wide=False,
        )
    ]
    if results.roc:
        figures.insert(
            0,
            Figure(
                SVG,
                charts_classes.roc(results.roc),
                f"ROC curve of each class against the rest; areas: {areas}.",
                f"ROC curves, each class against the rest, with {interval_name(facts)} by "
                "bootstrap over subjects (shaded).",
            ),
        )
    return Section(
        "class-test",
        "Classes on the locked test split",
        (looks_text(facts),),
        tables=(table("All cases, then by vendor", metrics, heads),),
        figures=tuple(figures),
    )


def _interval(row: dict[str, Any]) -> str:
    if row["ci_low"] is None or row["ci_high"] is None:
        return "–"
    return f"{row['ci_low']:.3f} to {row['ci_high']:.3f}"
