"""Columns of `series.parquet` that hold a series' geometry."""

from __future__ import annotations

from typing import Any, Final

COLUMNS: Final = {
    "geometry": "string",
    "geometry_findings": "string",
    "multi_frame": "bool",
    "slices": "int64",
    "spacing_mm": "double",
    "spacing_min_mm": "double",
    "spacing_max_mm": "double",
    "missing_slices": "int64",
    "missing_after": "string",
    "double_slices": "int64",
    "tilt_deg": "double",
    "tilt_stated_deg": "double",
    "orientations": "int64",
    "localizers": "int64",
    "signed": "string",
    "padding": "string",
    "rescale": "string",
    "instance_order": "string",
}
"""Columns of `series.parquet`, with their types."""
NOTHING: Final[dict[str, Any]] = {
    name: {"string": "", "bool": False, "int64": 0, "double": None}[kind]
    for name, kind in COLUMNS.items()
}
"""Of a series that is no image."""
