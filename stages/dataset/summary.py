"""Counts of a cohort, and the gate over them. Pure decisions, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.dataset.params import DatasetParams
from stages.stage import Check, Gate, Json, Verdict

Row = Mapping[str, Any]
SPLITS = ("train", "validation", "test", "unlabeled", "excluded")
LABELED = SPLITS[:3]


def summarize(splits: Sequence[Row], series: Iterable[Row], labels: Iterable[Row]) -> Json:
    """Count subjects, studies, series, vendors and structures in each split.

    Args:
        splits: rows of `splits.parquet`.
        series: rows of `series.parquet`.
        labels: rows of `labels.parquet`: one for each structure that a consensus holds.

    Returns:
        Split → `subjects`, `studies`, `series` (images), `vendors` (vendor → subjects) and
        `structures` (structure → subjects); and under `reasons` how many are excluded for what.
    """
    split_of = {row["subject"]: row["split"] for row in splits}
    images = {
        (split_of[row["subject"]], row["study"], row["series"])
        for row in series
        if row["kind"] == "image"
    }
    held = {(split_of[row["subject"]], row["structure"], row["subject"]) for row in labels}
    counts: Json = {}
    for split in SPLITS:
        counts[split] = {
            "subjects": sum(row["split"] == split for row in splits),
            "studies": len({study for where, study, _ in images if where == split}),
            "series": sum(where == split for where, _, _ in images),
            "vendors": _count(row["vendor"] for row in splits if row["split"] == split),
            "structures": _count(structure for where, structure, _ in held if where == split),
        }
    counts["shared_images"] = sum("has an image that" in row["reason"] for row in splits)
    return counts


def gate(counts: Json, structures: Sequence[str], limits: DatasetParams) -> Gate:
    """Hold a cohort's counts against what a training and its test need (DAT-4, DAT-6, DAT-7)."""
    missing = [
        f"{structure} in {split}"
        for structure in structures
        for split in LABELED
        if not counts[split]["structures"].get(structure)
    ]
    test, shared = counts["test"]["subjects"], counts["shared_images"]
    return Gate(
        checks=(
            _check(
                "DAT-4",
                figure=f"{shared} subjects excluded for an image that another has",
                limit="no image in two subjects (fixed)",
                otherwise=Verdict.FINDINGS if shared else None,
                remedy="Find out whether a person was registered twice; merge them at the source.",
            ),
            _check(
                "DAT-6",
                figure=f"missing: {', '.join(missing)}" if missing else "each structure in each",
                limit="each of task.structures in train, validation and test (fixed)",
                otherwise=Verdict.REFUSED if missing else None,
                remedy="Add annotated subjects that have the structure, or change dataset.fractions"
                " or dataset.seed before the first look at the test split.",
            ),
            _check(
                "DAT-7",
                figure=f"{test} subjects in the test split",
                limit=f"dataset.min_test_subjects = {limits.min_test_subjects}",
                otherwise=Verdict.REFUSED if test < limits.min_test_subjects else None,
                remedy="Add annotated subjects, or raise dataset.fractions.test.",
            ),
        )
    )


def _check(rule: str, *, figure: str, limit: str, otherwise: Verdict | None, remedy: str) -> Check:
    """One check: passed, or `otherwise` with its remedy."""
    return Check(
        rule=rule,
        figure=figure,
        limit=limit,
        verdict=otherwise or Verdict.PASSED,
        remedy=remedy if otherwise else "",
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
