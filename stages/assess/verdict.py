"""From scores to the table of metrics, and from the table to the gate. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any

from stages.assess.params import Parameters
from stages.assess.statistics import bootstrap
from stages.stage import Check, Gate, Verdict

Row = dict[str, Any]
ALL = "all"
METRICS = {
    "group": "string",
    "structure": "string",
    "n": "int64",
    "dice_mean": "double",
    "ci_low": "double",
    "ci_high": "double",
    "hd95_mm_mean": "double",
    "nsd_mean": "double",
}


def summarize(scores: Sequence[Row], params: Parameters) -> list[Row]:
    """Metrics by group (all, then each vendor) and structure, in the task's order.

    Args:
        scores: rows of `scores.parquet`.
        params: of the stage.

    Returns:
        Rows of `metrics.parquet`; `n` counts subjects for whom Dice is defined.
    """
    groups = [(ALL, scores)] + [
        (f"vendor={vendor}", [row for row in scores if row["vendor"] == vendor])
        for vendor in sorted({row["vendor"] for row in scores})
    ]
    return [
        _metrics(group, structure.name, rows, params)
        for group, rows in groups
        for structure in params.task.structures
    ]


def _metrics(group: str, structure: str, rows: Iterable[Row], params: Parameters) -> Row:
    rows = [row for row in rows if row["structure"] == structure and row["dice"] is not None]
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["subject"], []).append(row["dice"])
    interval = bootstrap(
        values,
        resamples=params.assess.resamples,
        confidence=params.assess.confidence,
        seed=params.numerics.seed,
    )
    return {
        "group": group,
        "structure": structure,
        "n": interval.subjects if interval else 0,
        "dice_mean": interval.mean if interval else None,
        "ci_low": interval.low if interval else None,
        "ci_high": interval.high if interval else None,
        "hd95_mm_mean": _mean(rows, "hd95_mm"),
        "nsd_mean": _mean(rows, "nsd"),
    }


def _mean(rows: Iterable[Row], column: str) -> float | None:
    known = [row[column] for row in rows if row[column] is not None]
    return round(fmean(known), 6) if known else None


def judge(metrics: Sequence[Row], skipped: int, params: Parameters) -> Gate:
    """Hold the metrics against the declared limits (ASS-4 to ASS-7)."""
    overall = {row["structure"]: row for row in metrics if row["group"] == ALL}
    checks = [check for row in overall.values() for check in _structure_checks(row, params)] + list(
        _vendor_checks(metrics, overall, params)
    )
    if skipped:
        checks.append(
            Check(
                rule="ASS-7",
                figure=f"{skipped} labeled test series could not be read",
                limit="none",
                verdict=Verdict.FINDINGS,
                remedy="See the reasons in the record; export these series again.",
            )
        )
    return Gate(checks=tuple(checks))


def _structure_checks(row: Row, params: Parameters) -> Iterator[Check]:
    name, mean = row["structure"], row["dice_mean"]
    limit = params.min_dice(name)
    enough = mean is not None and mean >= limit
    yield Check(
        rule="ASS-4",
        figure=f"mean test Dice of {name} " + ("is unknown" if mean is None else f"{mean:.3f}"),
        limit=f"at least {limit:g} (assess.min_dice)",
        verdict=Verdict.PASSED if enough else Verdict.REFUSED,
        remedy="" if enough else "Improve data or training; do not tune on the test split.",
    )
    least = params.assess.min_ci_low
    if least is not None:
        low = row["ci_low"]
        enough = low is not None and low >= least
        yield Check(
            rule="ASS-4",
            figure=f"lower end of the interval of {name} "
            + ("is unknown" if low is None else f"{low:.3f}"),
            limit=f"at least {least:g} (assess.min_ci_low)",
            verdict=Verdict.PASSED if enough else Verdict.REFUSED,
            remedy="" if enough else "Test on more subjects, or improve data or training.",
        )
    enough = row["n"] >= params.assess.min_subjects
    yield Check(
        rule="ASS-5",
        figure=f"{row['n']} test subjects for {name}",
        limit=f"at least {params.assess.min_subjects} (assess.min_subjects)",
        verdict=Verdict.PASSED if enough else Verdict.FINDINGS,
        remedy="" if enough else "The interval is not to be trusted: test on more subjects.",
    )


def _vendor_checks(
    metrics: Sequence[Row], overall: dict[str, Row], params: Parameters
) -> Iterator[Check]:
    for row in metrics:
        if row["group"] != ALL:
            whole = overall[row["structure"]]["dice_mean"]
            what = f"mean Dice of {row['structure']}"
            yield from gap_check(row["group"], what, whole, row["dice_mean"], row["n"], params)


def gap_check(  # noqa: PLR0917 - a figure, its group and its size
    group: str,
    what: str,
    whole: float | None,
    own: float | None,
    subjects: int,
    params: Parameters,
) -> Iterator[Check]:
    """A finding if a vendor's figure lies too far below that of all (ASS-6)."""
    if whole is None or own is None:
        return
    gap = round(whole - own, 6)
    if gap > params.assess.vendor_gap:
        yield Check(
            rule="ASS-6",
            figure=f"{group}: {what} lies {gap:.3f} below all ({subjects} subjects)",
            limit=f"at most {params.assess.vendor_gap:g} below all (assess.vendor_gap)",
            verdict=Verdict.FINDINGS,
            remedy="Train on more series of this vendor, or exclude it from the intended use.",
        )
