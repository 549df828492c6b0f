"""Counts of a cohort, and the gate over them. Pure decisions, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.dataset.params import DatasetParams
from stages.params import Task
from stages.stage import Check, Gate, Json, Verdict

Row = Mapping[str, Any]
SPLITS = ("train", "validation", "test", "unlabeled", "excluded")
LABELED = SPLITS[:3]


def summarize(
    splits: Sequence[Row], series: Iterable[Row], labels: Iterable[Row], classes: Iterable[Row] = ()
) -> Json:
    """Count subjects, studies, series, vendors, structures and classes in each split.

    Args:
        splits: rows of `splits.parquet`.
        series: rows of `series.parquet`.
        labels: rows of `labels.parquet`: one for each structure that a consensus holds.
        classes: rows of `classes.parquet`: one for each case that a reader gave a class.

    Returns:
        Split → `subjects`, `studies`, `series` (images and pictures), `vendors` (vendor →
        subjects), `structures` (structure → subjects) and `classes` (class → cases); and under
        `reasons` how many are excluded for what.
    """
    split_of = {row["subject"]: row["split"] for row in splits}
    images = {
        (split_of[row["subject"]], row["study"], row["series"])
        for row in series
        if row["kind"] in ("image", "picture")
    }
    held = {(split_of[row["subject"]], row["structure"], row["subject"]) for row in labels}
    told = [(split_of[row["subject"]], row["class"]) for row in classes if row["class"]]
    counts: Json = {}
    for split in SPLITS:
        counts[split] = {
            "subjects": sum(row["split"] == split for row in splits),
            "studies": len({study for where, study, _ in images if where == split}),
            "series": sum(where == split for where, _, _ in images),
            "vendors": _count(row["vendor"] for row in splits if row["split"] == split),
            "structures": _count(structure for where, structure, _ in held if where == split),
            "classes": _count(name for where, name in told if where == split),
        }
    counts["shared_images"] = sum("has an image that" in row["reason"] for row in splits)
    return counts


def gate(counts: Json, task: Task, limits: DatasetParams) -> Gate:
    """Hold a cohort's counts against what a training and its test need (DAT-4, DAT-6, DAT-7)."""
    wanted = [("structures", structure.name) for structure in task.structures]
    wanted += [("classes", label.name) for label in task.classes]
    missing = [
        f"{name} in {split}"
        for kind, name in wanted
        for split in LABELED
        if not counts[split][kind].get(name)
    ]
    what = " and ".join(
        words for words, asked in (("structure", task.structures), ("class", task.classes)) if asked
    )
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
                figure=f"missing: {', '.join(missing)}" if missing else f"each {what} in each",
                limit=f"each {what} of the task in train, validation and test (fixed)",
                otherwise=Verdict.REFUSED if missing else None,
                remedy="Add annotated subjects that have it, or change dataset.fractions or"
                " dataset.seed before the first look at the test split.",
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
