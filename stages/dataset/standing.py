"""What a subject can do in the cohort: be labeled, be unlabeled, or take no part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import Unreadable
from stages.stack import Fit, fit_of

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """One subject before splitting."""

    vendor: str
    """Manufacturer of its images; several are joined by ` + `, none is `unknown`."""
    labeled: bool
    images: frozenset[str]
    """Its image series."""
    reason: str = ""
    """Why it is excluded; empty if it takes part."""


def standings(
    series: Mapping[str, Sequence[Path]],
    *,
    labeled: Collection[str],
    rows: Iterable[Row],
    queue: Iterable[Row],
    modality: str,
) -> dict[str, Standing]:
    """Judge every ingested subject (DAT-5).

    Args:
        series: subject → archives of its series, images and annotations alike.
        labeled: subjects with a consensus on at least one series.
        rows: the merged `series.parquet` of ingest.
        queue: the merged `queue.parquet` of annotate.
        modality: the task's; other images take no part.
    """
    own: dict[str, list[Row]] = {subject: [] for subject in series}
    for row in rows:
        own[row["subject"]].append(row)
    queued: dict[str, set[str]] = {subject: set() for subject in series}
    for row in queue:
        queued[row["subject"]].add(row["reason"])
    found = {}
    for subject, archives in sorted(series.items()):
        images = [row for row in own[subject] if row["kind"] == "image"]
        images = [row for row in images if row["modality"] == modality]
        makers = sorted({(row["manufacturer"] or "").strip() for row in images} - {""})
        fits = {row["series"]: fit_of(row) for row in images}
        names = frozenset(fits)
        reason = ""
        if not names:
            reason = f"has no {modality} series"
        elif subject not in labeled:
            annotated = any(row["kind"] == "annotation" for row in own[subject])
            if annotated:
                why = "; ".join(sorted(queued[subject])) or "see the tables of the stage annotate"
                reason = f"annotated, but without consensus: {why}"
            elif not any(
                _is_volume(path, fits[path.stem]) for path in archives if path.stem in names
            ):
                reason = "has no series that is a volume"
                said = sorted({row.get("geometry_findings") or "" for row in images} - {""})
                reason += f" ({'; '.join(said)})" if said else ""
        found[subject] = Standing(
            vendor=" + ".join(makers) or "unknown",
            labeled=subject in labeled,
            images=names,
            reason=reason,
        )
    return found


def _is_volume(archive: Path, fit: Fit) -> bool:
    from stages.series import read_series

    if fit is Fit.FLAGGED:
        return False
    try:
        read_series(archive, pixels=False, resample=fit is Fit.RESAMPLE)
    except Unreadable:
        return False
    return True
