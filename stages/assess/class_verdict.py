"""From class probabilities to tables of metrics, and from the tables to checks. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stages.assess import classes
from stages.assess.params import Parameters
from stages.assess.verdict import ALL, gap_check
from stages.stage import Check, Verdict

Row = dict[str, Any]
PREDICTIONS = {
    "subject": "string",
    "series": "string",
    "sop": "string",
    "vendor": "string",
    "reference": "string",
    "class": "string",
    "probability": "double",
}
METRICS = {
    "group": "string",
    "class": "string",
    "metric": "string",
    "n": "int64",
    "cases": "int64",
    "value": "double",
    "ci_low": "double",
    "ci_high": "double",
}
CONFUSION = {"reference": "string", "predicted": "string", "cases": "int64"}
ROC = {
    "class": "string",
    "false_positive_rate": "double",
    "sensitivity": "double",
    "ci_low": "double",
    "ci_high": "double",
}


@dataclass(frozen=True)
class ClassResults:
    """Tables of the merged tree."""

    metrics: list[Row]
    """By group (all, then each vendor), class (all, then each) and metric."""
    confusion: list[Row]
    roc: list[Row]


def summarize(predictions: Sequence[Row], params: Parameters) -> ClassResults:
    """Every metric of all cases and of each vendor's; confusions and curves of all."""
    names = [label.name for label in params.task.classes]
    how: dict[str, Any] = {
        "resamples": params.assess.resamples,
        "confidence": params.assess.confidence,
        "seed": params.numerics.seed,
    }
    groups = [(ALL, predictions)] + [
        (f"vendor={vendor}", [row for row in predictions if row["vendor"] == vendor])
        for vendor in sorted({row["vendor"] for row in predictions})
    ]
    everyone = classes.cases_of(predictions, names)
    return ClassResults(
        metrics=[
            {"group": group, **row}
            for group, rows in groups
            for row in classes.measure(classes.cases_of(rows, names), names, **how)
        ],
        confusion=classes.confusion(everyone, names),
        roc=classes.curves(everyone, names, **how),
    )


def judge(metrics: Sequence[Row], params: Parameters) -> Iterator[Check]:
    """Hold the metrics against the declared limits (ASS-5, ASS-6, ASS-8)."""
    areas = {(row["group"], row["class"]): row for row in metrics if row["metric"] == "auc"}
    for label in params.task.classes:
        yield from _class_checks(label.name, areas.get((ALL, label.name)), params)
    whole = areas.get((ALL, ALL))
    for (group, name), row in areas.items():
        if group != ALL and name == ALL and whole is not None:
            yield from gap_check(group, "mean AUC", whole["value"], row["value"], row["n"], params)


def _class_checks(name: str, row: Row | None, params: Parameters) -> Iterator[Check]:
    limits = [("value", "test AUC", params.min_auc(name), "assess.min_auc")]
    if params.assess.min_auc_ci_low is not None:
        limits.append(
            (
                "ci_low",
                "lower end of the interval of the AUC",
                params.assess.min_auc_ci_low,
                "assess.min_auc_ci_low",
            )
        )
    for column, what, limit, key in limits:
        value = None if row is None else row[column]
        enough = value is not None and value >= limit
        yield Check(
            rule="ASS-8",
            figure=f"{what} of {name} " + ("is unknown" if value is None else f"{value:.3f}"),
            limit=f"at least {limit:g} ({key})",
            verdict=Verdict.PASSED if enough else Verdict.REFUSED,
            remedy="" if enough else "Improve data or training; do not tune on the test split.",
        )
    count = 0 if row is None else row["cases"]
    enough = count >= params.assess.min_subjects
    yield Check(
        rule="ASS-5",
        figure=f"{count} test cases of {name}",
        limit=f"at least {params.assess.min_subjects} (assess.min_subjects)",
        verdict=Verdict.PASSED if enough else Verdict.FINDINGS,
        remedy="" if enough else "The interval is not to be trusted: test on more subjects.",
    )
