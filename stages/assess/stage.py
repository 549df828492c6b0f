"""Assess: the chosen candidate, once, on the locked test split.

Rules:

- ASS-1  The candidate is the one that `train` chose, with the task, volume and network of the
         parameters and the weights of its description; anything else ends the stage.
- ASS-2  Only test subjects are predicted, and all of their labeled series; predictions are DICOM
         SEG on the grid of their series. Every record names the split by digest, so that looks at
         it can be counted.
- ASS-3  A structure that a series shows in neither reference nor prediction has no Dice there and
         counts nowhere; one that only one of them shows has Dice 0 and no surface distance.
- ASS-4  The gate refuses a structure whose mean Dice, or lower end of the interval where asked
         for, is below its declared limit or unknown.
- ASS-5  Intervals are bootstrapped over subjects; too few subjects are a finding.
- ASS-6  A vendor whose mean Dice, or mean AUC over classes, lies more than the declared gap below
         all is a finding.
- ASS-7  A test series that cannot be read is a finding, never dropped in silence.
- ASS-8  The gate refuses a class whose area under the ROC curve against the rest, or lower end of
         its interval where asked for, is below its declared limit or unknown.
- ASS-9  Where `assess.detection` asks for it, a structure's lesions are counted as instances
         (`stages/detection.py`), and a mean sensitivity below its declared limit, or unknown, is
         refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audit.canonical import digest_json
from stages.assess.params import Parameters
from stages.stage import (
    Check,
    Gate,
    Json,
    MergeContext,
    Outcome,
    Plan,
    PlanContext,
    RunContext,
    Stage,
    Unit,
)

COHORT = "dataset/cohort"
UNIT = "test"


def plan(ctx: PlanContext[Parameters]) -> Plan:
    """One unit: the test split, looked at once."""
    cohort, _ = ctx.upstream["dataset"].units["cohort"]
    candidate, _ = ctx.upstream["train"].merged
    return Plan(units=(Unit(UNIT, {COHORT: cohort, "train": candidate}),))


def run(_unit: Unit, ctx: RunContext[Parameters]) -> Outcome:
    """Predict and score: segmentations, `scores.parquet`, `predictions.parquet`."""
    from stages.assess.predict import predict_test_split
    from stages.network import pinned

    cohort = ctx.trees[COHORT]
    with pinned(ctx.params.numerics):
        outcome = predict_test_split(cohort, ctx.trees["train"], ctx.params, ctx.out, ctx.say)
    return replace(outcome, findings=outcome.findings | {"test_split": split_digest(cohort)})


def merge(ctx: MergeContext[Parameters]) -> Outcome:
    """Summarize: `metrics.parquet`, with classes three tables more, and the gate."""
    from stages.assess import class_verdict
    from stages.assess.verdict import METRICS, judge, summarize
    from stages.table import read_table, write_table

    scores = read_table(ctx.units[UNIT] / "scores.parquet")
    metrics = summarize(scores, ctx.params)
    write_table(ctx.out / "metrics.parquet", metrics, METRICS)
    findings: Json = {"metrics": metrics, "test_split": split_digest(ctx.trees[COHORT])}
    checks: tuple[Check, ...] = ()
    said: list[Json] = []
    if ctx.params.task.classes:
        said = read_table(ctx.units[UNIT] / "predictions.parquet")
        found = class_verdict.summarize(said, ctx.params)
        write_table(ctx.out / "class_metrics.parquet", found.metrics, class_verdict.METRICS)
        write_table(ctx.out / "confusion.parquet", found.confusion, class_verdict.CONFUSION)
        write_table(ctx.out / "roc.parquet", found.roc, class_verdict.ROC)
        findings |= {"class_metrics": found.metrics}
        checks = tuple(class_verdict.judge(found.metrics, ctx.params))
    wanted = ctx.params.assess.detection
    if wanted is not None:
        from stages.assess import lesions

        scans = read_table(ctx.units[UNIT] / "scans.parquet")
        candidates = read_table(ctx.units[UNIT] / "candidates.parquet")
        points, line = lesions.summarize(scans, candidates, ctx.params)
        write_table(ctx.out / "froc.parquet", points, lesions.FROC)
        write_table(ctx.out / "froc_curve.parquet", line, lesions.CURVE)
        findings |= {"froc": points}
        checks += tuple(lesions.judge(points, wanted))
    missing = unread(ctx.trees[COHORT], [*scores, *said], ctx.params)
    gate = judge(metrics, missing, ctx.params)
    return Outcome(findings=findings, gate=Gate(checks=(*gate.checks, *checks)))


def split_digest(cohort: Path) -> str:
    """Digest of the sorted list of test subjects (ASS-2)."""
    from stages.table import read_table

    rows = read_table(cohort / "splits.parquet")
    return digest_json(sorted({row["subject"] for row in rows if row["split"] == "test"}))


def unread(cohort: Path, scores: list[Json], params: Parameters) -> int:
    """Labeled test cases without scores (ASS-7)."""
    from stages.cohort import labeled_cases, read_cases

    cases = labeled_cases(read_cases(cohort, params.task), params.task, "test")
    labeled = {(case.series, case.sop) for case in cases}
    return len(labeled - {(row["series"], row.get("sop", "")) for row in scores})


STAGE = Stage(
    name="assess",
    parameters=Parameters,
    after=("dataset", "train"),
    plan=plan,
    run=run,
    merge=merge,
    numeric=True,
    classes=lambda params: (params.network.target,),
)
