"""Annotate: readers' segmentations → agreement, consensus, and a queue for human review.

In: `ingest/<subject>`. Out: a unit a subject with `consensus/<image-series>.dcm` (DICOM SEG),
`agreement.parquet`, `labels.parquet`, `classes.parquet`, `class_agreement.parquet`,
`queue.parquet`; merged, the five tables of the cohort and `validation.json`.

Rules:

- ANN-1  Each pair of readers of a series is compared on each structure that one of them drew:
         Dice, 95 % Hausdorff distance and normalized surface Dice, before any consensus.
- ANN-2  With three or more readers the consensus is STAPLE's or a strict majority's, with
         `consensus: expert` the named reader's own. It depends neither on the order of readers nor
         on the instruction set.
- ANN-3  Two readers never give their intersection in silence: their consensus is the surface
         halfway between theirs; where they disagree on an object, or below `min_dice`, there is
         none and the series is queued.
- ANN-4  Fewer readers than `min_readers`, or no annotation by the named expert: no consensus, and
         the series is queued. One reader's annotation taken as it is is a finding.
- ANN-5  A structure's class label is that of most readers; a tie gives none and queues the series.
- ANN-6  What a human must see is queued with its reason and never stops the batch: an annotation
         or series that cannot be read, an expected reader missing, low agreement, a tie.
- ANN-7  The cohort's tables hold to a Great Expectations suite, whose results are kept as
         aggregates without values, the same in each run.
- ANN-8  The stage refuses below `min_mean_dice` between readers of a structure, above `max_queued`,
         and if the suite fails.
- ANN-9  A case's class is that of most readers, with `consensus: expert` the named reader's; a tie,
         too few readers or no expert give none, and queue the case. Readers say it by tables of
         labels, or by the class of a structure whose classes are the task's own; of a reader who
         says two things of one case nothing is taken.
- ANN-10 Each pair of readers of a case's class is kept; their agreement over the cohort is the
         share of equal labels and Cohen's kappa.
- ANN-11 The stage refuses below `min_class_agreement` between readers of the class.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from audit.canonical import canonical_json
from audit.errors import Unreadable
from stages.annotate.params import Parameters
from stages.stage import MergeContext, Outcome, Plan, PlanContext, RunContext, Stage, Unit

Row = dict[str, Any]


def plan(ctx: PlanContext[Parameters]) -> Plan:
    """One unit for each subject that ingest kept."""
    subjects = sorted(ctx.upstream["ingest"].units.items())
    return Plan(
        units=tuple(
            Unit(name=subject, inputs={f"ingest/{subject}": digest})
            for subject, (digest, _) in subjects
        )
    )


def run(unit: Unit, ctx: RunContext[Parameters]) -> Outcome:
    """Compare and combine the annotations of one subject's series."""
    from stages.annotate import tables
    from stages.annotate.case import annotate
    from stages.annotate.class_decision import decide_class
    from stages.annotate.class_readings import Key, joined, read_labels_given
    from stages.table import read_table

    tree = ctx.trees[f"ingest/{unit.name}"]
    rows = read_table(tree / "series.parquet")
    images = {row["series"]: row for row in rows if row["kind"] == "image"}
    drawn: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] == "annotation":
            drawn.setdefault(row["annotates"], []).append(row)
    found: dict[str, list[Row]] = {name: [] for name in tables.COLUMNS}
    methods: Counter[str] = Counter()
    said, left_out = read_labels_given(tree, ctx.params.task)
    for done, (uid, drawings) in enumerate(sorted(drawn.items())):
        ctx.say("combining annotations", done / len(drawn))
        key = {"subject": unit.name, "series": uid}
        try:
            agreement, decision, by_structure = annotate(tree, images.get(uid), drawings, ctx)
        except Unreadable as error:
            found["queue"].append({**key, "sop": "", "rule": "ANN-6", "reason": error.what})
            methods["none"] += 1
            continue
        methods[decision.method or "none"] += 1
        found["agreement"] += [{**key, **row} for row in agreement]
        found["labels"] += [{**key, **row} for row in decision.labels]
        found["queue"] += [
            {**key, "sop": "", "rule": rule, "reason": reason} for rule, reason in decision.queue
        ]
        if by_structure:
            said[Key(uid, "")] = joined([said.get(Key(uid, ""), {}), by_structure])
    names = [label.name for label in ctx.params.task.classes]
    for case, readers in sorted(said.items()):
        chosen = decide_class(readers, names, ctx.params.annotate)
        key = {"subject": unit.name, **case._asdict()}
        found["classes"].append({**key, **chosen.row})
        found["class_agreement"] += [{**key, **row} for row in chosen.agreement]
        left_out += [(case, reason) for reason in chosen.queue]
    found["queue"] += [
        {"subject": unit.name, **case._asdict(), "rule": rule, "reason": reason}
        for case, (rule, reason) in left_out
    ]
    tables.write(ctx.out, found)
    return Outcome(
        findings={
            "annotated": len(drawn.keys() | {series for series, _ in said}),
            "annotations": sum(map(len, drawn.values())),
            "labeled": len(said),
            "methods": dict(sorted(methods.items())),
            "queued": len({(row["series"], row["sop"]) for row in found["queue"]}),
        }
    )


def merge(ctx: MergeContext[Parameters]) -> Outcome:
    """Concatenate the tables, hold them against the suite, and judge."""
    from stages.annotate import class_decision, gate, tables, validation
    from stages.table import read_table

    params, task = ctx.params.annotate, ctx.params.task
    found = tables.read(ctx.units[name] for name in sorted(ctx.units))
    tables.write(ctx.out, found)
    expected = validation.validate(found, task, params)
    result = {
        "schema": 1,
        "success": all(one.success for one in expected),
        "expectations": [one.model_dump(mode="json") for one in expected],
    }
    (ctx.out / "validation.json").write_bytes(canonical_json(result))
    annotated = {(row["subject"], row["series"], row["sop"]) for row in found["classes"]}
    annotated |= {
        (row["subject"], row["annotates"], "")
        for name, tree in ctx.trees.items()
        if name.startswith("ingest/")
        for row in read_table(tree / "series.parquet")
        if row["kind"] == "annotation"
    }
    queued = {(row["subject"], row["series"], row["sop"]) for row in found["queue"]}
    return Outcome(
        findings={
            "agreement": gate.summarize(found["agreement"], task),
            "class_agreement": class_decision.summarize(found["class_agreement"]),
            "annotated": len(annotated),
            "queue": len(queued),
            "queue_reasons": dict(sorted(Counter(row["rule"] for row in found["queue"]).items())),
            "expectations": len(expected),
            "expectations_failed": sum(not one.success for one in expected),
        },
        gate=gate.judge(found, len(annotated), expected, task, params),
    )


STAGE = Stage(
    name="annotate",
    parameters=Parameters,
    after=("ingest",),
    plan=plan,
    run=run,
    merge=merge,
)
