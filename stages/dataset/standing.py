"""What a subject can do in the cohort: be labeled, be unlabeled, or take no part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import Unreadable
from stages.params import Task
from stages.stack import Fit, fit_of

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """One subject before splitting."""

    vendor: str
    """Manufacturer of its images; several are joined by ` + `, none is `unknown`."""
    labeled: bool
    classes: str
    """Classes of its cases, joined by ` + `; empty without any."""
    images: frozenset[str]
    """Its series of images, and of pictures where these are cases."""
    reason: str = ""
    """Why it is excluded; empty if it takes part."""


def standings(
    series: Mapping[str, Sequence[Path]],
    *,
    consensus: Collection[str],
    rows: Iterable[Row],
    queue: Iterable[Row],
    classes: Iterable[Row],
    task: Task,
) -> dict[str, Standing]:
    """Judge every ingested subject (DAT-5).

    Args:
        series: subject → archives of its series, images and annotations alike.
        consensus: subjects with a consensus on at least one series.
        rows: the merged `series.parquet` of ingest.
        queue: the merged `queue.parquet` of annotate.
        classes: the merged `classes.parquet` of annotate.
        task: its modality and classes; other images take no part.
    """
    own: dict[str, list[Row]] = {subject: [] for subject in series}
    for row in rows:
        own[row["subject"]].append(row)
    queued: dict[str, set[str]] = {subject: set() for subject in series}
    for row in queue:
        queued[row["subject"]].add(row["reason"])
    told: dict[str, set[str]] = {}
    for row in classes:
        told.setdefault(row["subject"], set()).add(row["class"])
    found = {}
    for subject, archives in sorted(series.items()):
        images = [row for row in own[subject] if row["kind"] in task.kinds]
        images = [row for row in images if row["modality"] == task.modality]
        makers = sorted({(row["manufacturer"] or "").strip() for row in images} - {""})
        kinds = {row["series"]: row["kind"] for row in images}
        fits = {row["series"]: fit_of(row) for row in images}
        given = told.get(subject, set())
        labeled = subject in consensus or bool(given - {""})
        reason = ""
        if not kinds:
            reason = f"has no {task.modality} series"
        elif not labeled:
            annotated = any(row["kind"] == "annotation" for row in own[subject])
            if annotated or given:
                why = "; ".join(sorted(queued[subject])) or "see the tables of the stage annotate"
                reason = f"annotated, but without consensus: {why}"
            elif not any(
                _opens(path, kinds[path.stem], fits[path.stem])
                for path in archives
                if path.stem in kinds
            ):
                reason = "has no series that is a volume"
                reason += " or holds a picture" if "picture" in kinds.values() else ""
                said = sorted({row.get("geometry_findings") or "" for row in images} - {""})
                reason += f" ({'; '.join(said)})" if said else ""
        found[subject] = Standing(
            vendor=" + ".join(makers) or "unknown",
            labeled=labeled,
            classes=" + ".join(sorted(given - {""})),
            images=frozenset(kinds),
            reason=reason,
        )
    return found


def _opens(archive: Path, kind: str, fit: Fit) -> bool:
    """Whether a series is a volume, or a picture of it can be read."""
    from stages.picture import has_picture
    from stages.series import read_series

    if kind == "picture":
        return has_picture(archive)
    if fit is Fit.FLAGGED:
        return False
    try:
        read_series(archive, pixels=False, resample=fit is Fit.RESAMPLE)
    except Unreadable:
        return False
    return True
