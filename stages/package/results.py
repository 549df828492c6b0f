"""What the earlier stages found, read from their trees: rows as they wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.table import read_table

Rows = list[dict[str, Any]]
Json = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Tables of the cohort, the training, the test and the targets."""

    series: Rows
    splits: Rows
    quarantine: Rows
    agreement: Rows
    queue: Rows
    candidate: Json
    comparison: Rows
    histories: Mapping[str, Rows]
    """Finalist → its epochs with the first seed, in the declared order."""
    metrics: Rows
    scores: Rows
    equivalence: Rows
    classes: Rows = field(default_factory=list)
    class_agreement: Rows = field(default_factory=list)
    class_metrics: Rows = field(default_factory=list)
    confusion: Rows = field(default_factory=list)
    roc: Rows = field(default_factory=list)
    """The last five are empty for a task without classes."""
    froc: Rows = field(default_factory=list)
    froc_curve: Rows = field(default_factory=list)
    """The last two are empty where lesions are not counted as instances."""
    pretraining: Mapping[str, Rows] = field(default_factory=dict)
    """Self-supervised method → its epochs."""
    trials: Rows = field(default_factory=list)
    curves: Rows = field(default_factory=list)
    """A row a variant and number of labeled subjects."""
    trained: Mapping[str, Json] = field(default_factory=dict)
    """Finalist → where it started, what it trained, how private it is; in the declared order."""
    sources: Mapping[str, Json] = field(default_factory=dict)
    """Source of pre-trained weights → what was read of it, and what the network took."""


def read(trees: Mapping[str, Path]) -> Results:
    """Read the tables of the trees that `plan` named."""
    cohort, variants = trees["dataset/cohort"], trees["train/variants"]
    comparison = read_table(trees["train"] / "comparison.parquet")
    finalists = [row["variant"] for row in comparison]
    return Results(
        series=read_table(cohort / "series.parquet"),
        splits=read_table(cohort / "splits.parquet"),
        quarantine=read_table(cohort / "quarantine.parquet"),
        agreement=read_table(cohort / "agreement.parquet"),
        queue=read_table(trees["annotate"] / "queue.parquet"),
        candidate=_json(trees["train"] / "candidate.json"),
        comparison=comparison,
        histories={name: read_table(variants / name / "history.parquet") for name in finalists},
        metrics=read_table(trees["assess"] / "metrics.parquet"),
        scores=read_table(trees["assess/test"] / "scores.parquet"),
        equivalence=read_table(trees["optimize/targets"] / "equivalence.parquet"),
        classes=_if_there(cohort / "classes.parquet"),
        class_agreement=_if_there(cohort / "class_agreement.parquet"),
        class_metrics=_if_there(trees["assess"] / "class_metrics.parquet"),
        confusion=_if_there(trees["assess"] / "confusion.parquet"),
        roc=_if_there(trees["assess"] / "roc.parquet"),
        pretraining={
            path.parent.name: read_table(path)
            for path in sorted(variants.glob("pretraining/*/history.parquet"))
        },
        trials=read_table(variants / "trials.parquet"),
        curves=read_table(trees["train"] / "curves.parquet"),
        trained={name: _json(variants / name / "result.json") for name in finalists},
        sources={path.stem: _json(path) for path in sorted(variants.glob("weights/*.json"))},
        froc=_if_there(trees["assess"] / "froc.parquet"),
        froc_curve=_if_there(trees["assess"] / "froc_curve.parquet"),
    )


def _if_there(path: Path) -> Rows:
    return read_table(path) if path.is_file() else []


def _json(path: Path) -> Json:
    found: Json = json.loads(path.read_bytes())
    return found
