"""The stage's accounts: its four tables, their totals, and the gate that is held against them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.ingest.counts import Done
from stages.ingest.geometry_columns import COLUMNS
from stages.ingest.params import IngestParams
from stages.ingest.quarantine import Reason
from stages.stage import Check, Gate, Json, Verdict

SERIES = {
    "subject": "string",
    "study": "string",
    "series": "string",
    "modality": "string",
    "kind": "string",
    "reader": "string",
    "annotates": "string",
    "manufacturer": "string",
    "model": "string",
    "instances": "int64",
    "face_risk": "string",
    "face_voxels": "int64",
    "face_mask_sha256": "string",
    "sex": "string",
    "age_band": "string",
    **COLUMNS,
}
INSTANCES = {
    "subject": "string",
    "series": "string",
    "sop": "string",
    "input_sha256": "string",
    "output_sha256": "string",
    "key_version": "string",
    "edition": "string",
    "pixels": "string",
    "text_boxes": "int64",
    **{f"actions_{done}": "int64" for done in Done},
    "actions": "string",
}
CLASS_LABELS = {
    "subject": "string",
    "study": "string",
    "series": "string",
    "sop": "string",
    "label": "string",
    "reader": "string",
}
"""What a reader said of an image, of a whole series (no `sop`) or a whole study (no `series`)."""
QUARANTINE = {"input_sha256": "string", "reason": "string"}
TABLES = {
    "series": SERIES,
    "instances": INSTANCES,
    "class_labels": CLASS_LABELS,
    "quarantine": QUARANTINE,
}


def quarantine_rows(quarantined: list[tuple[str, Reason]]) -> list[dict[str, Any]]:
    """Rows of `quarantine.parquet`."""
    return [{"input_sha256": sha256, "reason": reason.value} for sha256, reason in quarantined]


def write(out: Path, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write the tables that are given, each sorted by its columns."""
    from stages.table import write_table

    for name in rows:
        columns = TABLES[name]
        ordered = sorted(rows[name], key=lambda row: [row[column] for column in columns])
        write_table(out / f"{name}.parquet", ordered, columns)


def counts(rows: Mapping[str, list[dict[str, Any]]]) -> Json:
    """Figures of the record; who was quarantined stands in `quarantine.parquet`."""
    reasons = Counter(row["reason"] for row in rows["quarantine"])
    return {
        "subjects": len({row["subject"] for row in rows["series"]}),
        "series": len(rows["series"]),
        "instances_out": sum(row["instances"] for row in rows["series"]),
        "class_labels": len(rows["class_labels"]),
        "quarantined": len(rows["quarantine"]),
        "reasons": dict(sorted(reasons.items())),
    }


def gate(findings: Json, params: IngestParams) -> Gate:
    """Hold what was taken in against the declared limits (ING-11)."""
    bad, good = findings["quarantined"], findings["instances_out"]
    share = bad / max(bad + good, 1)
    too_many = share > params.max_quarantined_fraction
    verdict = Verdict.FINDINGS if bad else Verdict.PASSED
    remedy = "Read quarantine.parquet: each file's digest stands there with its reason."
    return Gate(
        checks=(
            Check(
                rule="ING-11",
                figure=f"{findings['subjects']} subjects",
                limit="at least 1",
                verdict=Verdict.PASSED if findings["subjects"] else Verdict.REFUSED,
                remedy="" if findings["subjects"] else remedy,
            ),
            Check(
                rule="ING-11",
                figure=f"{bad} of {bad + good} files quarantined ({share:.1%})",
                limit=f"ingest.max_quarantined_fraction {params.max_quarantined_fraction:.1%}",
                verdict=Verdict.REFUSED if too_many else verdict,
                remedy=remedy if bad else "",
            ),
        )
    )
