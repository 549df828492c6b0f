"""One annotated series: read, compare, decide, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from audit.canonical import digest_json
from audit.errors import Unreadable
from stages.annotate import readings
from stages.annotate.class_readings import Said, of_structures
from stages.annotate.decision import Decision, Evidence, decide
from stages.annotate.params import Parameters
from stages.segmentation import write_labels
from stages.series import Series, read_series
from stages.stack import Fit, fit_of
from stages.stage import RunContext

Row = dict[str, Any]


def annotate(
    tree: Path,
    image: Mapping[str, Any] | None,
    annotations: Sequence[Row],
    ctx: RunContext[Parameters],
) -> tuple[list[Row], Decision, Said]:
    """Read, compare, decide and write one series.

    Args:
        tree: the subject's tree of the stage ingest.
        image: the series' row of its `series.parquet`; None if it has none.
        annotations: the rows of the annotations of this series.
        ctx: the unit's; the consensus goes below its `out`.

    Returns:
        Rows of agreement, what was decided, and which class each reader gave to the case by the
        class of a structure.

    Raises:
        Unreadable: if the series itself is missing, of another modality, or no volume.
    """
    params, task = ctx.params.annotate, ctx.params.task
    remedy = "Give the series again with its annotations."
    if image is None:
        raise Unreadable("The annotated series is not among the subject's images.", remedy)
    if image["modality"] != task.modality:
        raise Unreadable(f"The annotated series is not {task.modality}.", remedy)
    fit = fit_of(image)
    if fit is Fit.FLAGGED:
        raise Unreadable(
            f"The annotated series is no volume ({image['geometry_findings']}): flagged by ingest.",
            "Give the series again as a volume, or choose another policy in `ingest.geometry`.",
        )
    series = read_series(
        tree / f"{image['series']}.zip", pixels=False, resample=fit is Fit.RESAMPLE
    )
    labels, problems = readings.read_annotations(tree, annotations, series, task)
    agreement = readings.compare(labels, series, task, params.tolerance_mm)
    evidence = Evidence(labels, agreement, problems, series.geometry.spacing_mm)
    decision = decide(evidence, task, params)
    _write(ctx, series, decision)
    return agreement, decision, of_structures(labels, task)


def _write(ctx: RunContext[Parameters], series: Series, decision: Decision) -> None:
    if decision.label_map is None:
        return
    made = {
        "series": series.uid,
        "method": decision.method,
        "voxels": sha256(decision.label_map.tobytes()).hexdigest(),
        "labels": decision.labels,
    }
    write_labels(
        ctx.out / "consensus" / f"{series.uid}.dcm",
        decision.label_map,
        series,
        ctx.params.task,
        seed=f"consensus/{digest_json(made)}",
        epoch=ctx.params.project.epoch,
        description=f"Consensus ({decision.method})",
        classes=decision.classes,
        algorithm=None if decision.method in {"expert", "single"} else f"Kette-{decision.method} 1",
        creator="Consensus",
    )
