"""The tables of the stage: their columns and order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.table import read_table, write_table

Row = dict[str, Any]

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "agreement": {
        "subject": "string",
        "series": "string",
        "structure": "string",
        "reader_a": "string",
        "reader_b": "string",
        "dice": "double",
        "hd95_mm": "double",
        "nsd": "double",
    },
    "labels": {
        "subject": "string",
        "series": "string",
        "structure": "string",
        "class": "string",
        "votes": "int64",
        "readers": "int64",
        "method": "string",
        "voxels": "int64",
    },
    "classes": {
        "subject": "string",
        "series": "string",
        "sop": "string",
        "class": "string",
        "votes": "int64",
        "readers": "int64",
        "method": "string",
    },
    "class_agreement": {
        "subject": "string",
        "series": "string",
        "sop": "string",
        "reader_a": "string",
        "reader_b": "string",
        "label_a": "string",
        "label_b": "string",
    },
    "queue": {
        "subject": "string",
        "series": "string",
        "sop": "string",
        "rule": "string",
        "reason": "string",
    },
}
"""Table → column → type. `sop` is empty for a volume, and names an instance among pictures."""


def write(folder: Path, tables: Mapping[str, Iterable[Row]]) -> None:
    """Write all tables, their rows sorted by their text columns."""
    for name, columns in COLUMNS.items():
        texts = [column for column, kind in columns.items() if kind == "string"]
        rows = sorted(tables[name], key=lambda row: [row[text] for text in texts])
        write_table(folder / f"{name}.parquet", rows, columns)


def read(folders: Iterable[Path]) -> dict[str, list[Row]]:
    """Read all tables of several units, one after the other."""
    units = list(folders)
    return {
        name: [row for folder in units for row in read_table(folder / f"{name}.parquet")]
        for name in COLUMNS
    }
