"""The gate of the stage: declared limits held against the cohort's figures; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.annotate.params import AnnotateParams
from stages.annotate.validation import Expected
from stages.params import Task
from stages.stage import Check, Gate, Verdict

Row = Mapping[str, Any]
Json = dict[str, Any]


def summarize(agreement: Sequence[Row], task: Task) -> list[Json]:
    """Mean agreement of each pair of readers on each structure, in the task's order.

    Returns:
        structure, readers (two names), pairs (annotations compared), and the means of dice,
        hd95_mm and nsd over them; the surface metrics over those where both readers drew it.
    """
    found = []
    for structure in task.structures:
        rows = [row for row in agreement if row["structure"] == structure.name]
        for readers in sorted({(row["reader_a"], row["reader_b"]) for row in rows}):
            own = [row for row in rows if (row["reader_a"], row["reader_b"]) == readers]
            figures = {name: _mean(row[name] for row in own) for name in ("dice", "hd95_mm", "nsd")}
            line = {"structure": structure.name, "readers": list(readers), "pairs": len(own)}
            found.append(line | figures)
    return found


def judge(
    tables: Mapping[str, Sequence[Row]],
    annotated: int,
    expected: Sequence[Expected],
    task: Task,
    params: AnnotateParams,
) -> Gate:
    """Hold every limit of the section (ANN-8).

    Args:
        tables: the cohort's tables.
        annotated: series and pictures with at least one annotation or class label.
        expected: how the suite ended.
        task: the structures.
        params: the limits.
    """
    agreement = tables["agreement"]
    checks = [_agreement(structure.name, agreement, params) for structure in task.structures]
    checks += [_classes(tables["class_agreement"], params)] if task.classes else []
    checks += [_queued(tables["queue"], annotated, params)]
    checks += [_single(tables["labels"], tables["classes"])]
    checks.append(_suite(expected))
    return Gate(checks=tuple(checks))


def _agreement(structure: str, agreement: Sequence[Row], params: AnnotateParams) -> Check:
    mean = _mean(row["dice"] for row in agreement if row["structure"] == structure)
    limit = f"at least {params.min_mean_dice:g} (annotate.min_mean_dice)"
    if mean is None:
        return Check(
            rule="ANN-8",
            figure=f"{structure}: no two readers to compare",
            limit=limit,
            verdict=Verdict.FINDINGS,
            remedy="Have a second reader annotate some series, so that agreement is measured.",
        )
    low = mean < params.min_mean_dice
    return Check(
        rule="ANN-8",
        figure=f"{structure}: mean Dice between readers {mean:.3f}",
        limit=limit,
        verdict=Verdict.REFUSED if low else Verdict.PASSED,
        remedy="Agree on how the structure is drawn and have it annotated again." if low else "",
    )


def _classes(agreement: Sequence[Row], params: AnnotateParams) -> Check:
    share = _mean(float(row["label_a"] == row["label_b"]) for row in agreement)
    low = share is not None and share < params.min_class_agreement
    verdict = Verdict.REFUSED if low else Verdict.PASSED
    return Check(
        rule="ANN-11",
        figure="class: no two readers to compare"
        if share is None
        else f"class: readers give the same label to {share:.1%} of their common cases",
        limit=f"at least {params.min_class_agreement:g} (annotate.min_class_agreement)",
        verdict=Verdict.FINDINGS if share is None else verdict,
        remedy="Have a second reader label some cases, so that agreement is measured."
        if share is None
        else ("Agree on what each class means and have cases labeled again." if low else ""),
    )


def _queued(queue: Sequence[Row], annotated: int, params: AnnotateParams) -> Check:
    queued = len({(row["subject"], row["series"], row["sop"]) for row in queue})
    share = queued / max(annotated, 1)
    verdict = Verdict.FINDINGS if queued else Verdict.PASSED
    if share > params.max_queued:
        verdict = Verdict.REFUSED
    return Check(
        rule="ANN-6",
        figure=f"{queued} of {annotated} annotated series queued for review",
        limit=f"a share of at most {params.max_queued:g} (annotate.max_queued)",
        verdict=verdict,
        remedy="Review the series in queue.parquet; each row says why." if queued else "",
    )


def _single(labels: Sequence[Row], classes: Sequence[Row]) -> Check:
    alone = {
        (row["subject"], row["series"], row.get("sop", ""))
        for row in (*labels, *classes)
        if row["method"] == "single"
    }
    single = len(alone)
    return Check(
        rule="ANN-4",
        figure=f"{single} series with one reader's annotation as consensus",
        limit="none without a finding",
        verdict=Verdict.FINDINGS if single else Verdict.PASSED,
        remedy="Add readers, or set annotate.min_readers to leave these out." if single else "",
    )


def _suite(expected: Sequence[Expected]) -> Check:
    failed = [one for one in expected if not one.success]
    names = "; ".join(
        f"{one.table}: {one.expectation} ({', '.join(one.columns)})" for one in failed
    )
    return Check(
        rule="ANN-7",
        figure=f"{len(failed)} of {len(expected)} expectations failed",
        limit="none",
        verdict=Verdict.REFUSED if failed else Verdict.PASSED,
        remedy=f"See validation.json: {names}." if failed else "",
    )


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return round(sum(present) / len(present), 6) if present else None
