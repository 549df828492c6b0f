"""Tables: Parquet whose bytes depend on their rows alone.

Rules:

- TAB-1  The same rows and columns give the same bytes: fixed writer options, no clock, no pandas
         metadata, floats rounded to six decimals (so that a last bit that differs between
         instruction sets stays out), negative zero written as zero.
- TAB-2  A row has exactly the columns of its table; a value of another type, NaN or an infinity is
         refused. `None` is a missing value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_TYPES: dict[str, tuple[Any, tuple[type, ...]]] = {
    "string": (pa.string(), (str,)),
    "int64": (pa.int64(), (int,)),
    "double": (pa.float64(), (int, float)),
    "bool": (pa.bool_(), (bool,)),
}
_OPTIONS: dict[str, Any] = {
    "version": "2.6",
    "compression": "zstd",
    "use_dictionary": True,
    "store_schema": False,
}
_GROUP = 2_000


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows, in the order given, as one Parquet file.

    Args:
        path: the file; its folder is made.
        rows: name → value, each with exactly the names of `columns`.
        columns: name → "string", "int64", "double" or "bool", in the order of the file.

    Raises:
        ValueError: for a row that does not fit the columns (TAB-2).
    """
    for row in rows:
        if row.keys() != columns.keys():
            odd = sorted(row.keys() ^ columns.keys())
            raise ValueError(f"a row and its table differ in the columns {', '.join(odd)}")
    fields = [pa.field(name, _TYPES[kind][0]) for name, kind in columns.items()]
    arrays = [
        pa.array([_value(name, kind, row[name]) for row in rows], type=_TYPES[kind][0])
        for name, kind in columns.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=pa.schema(fields)),
        path,
        **_OPTIONS,
    )


def join_tables(path: Path, parts: Sequence[Path], columns: Mapping[str, str]) -> None:
    """Write the rows of tables, one after the other, as one Parquet file.

    A group of rows holds whole tables, at least `_GROUP` rows where there are as many, so that
    memory does not grow with their number.

    Args:
        path: the file; its folder is made.
        parts: tables of the same columns.
        columns: as for `write_table`.
    """
    schema = pa.schema([pa.field(name, _TYPES[kind][0]) for name, kind in columns.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, **_OPTIONS) as writer:
        waiting: list[Any] = []
        for number, part in enumerate(parts, start=1):
            # One thread: with several, each keeps memory of its own.
            waiting.append(pq.ParquetFile(part).read(use_threads=False).cast(schema))
            if number == len(parts) or sum(table.num_rows for table in waiting) >= _GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
                pa.default_memory_pool().release_unused()


def read_table(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Read a Parquet file's rows, in the order of the file; of the columns named, if any are."""
    rows: list[dict[str, Any]] = pq.ParquetFile(path).read(columns, use_threads=False).to_pylist()
    return rows


def _value(name: str, kind: str, value: Any) -> Any:
    if value is None:
        return None
    fits = isinstance(value, _TYPES[kind][1]) and (kind == "bool" or not isinstance(value, bool))
    if not fits:
        raise ValueError(f"column {name} takes {kind}, not {type(value).__name__}")
    if kind != "double":
        return value
    if not math.isfinite(value):
        raise ValueError(f"column {name} holds a number that is not finite")
    return round(float(value), 6) + 0.0
