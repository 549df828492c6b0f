"""Which instances are this project's own outputs, by the word of its ledger.

Rules:

- OWN-1  An instance is own if a table of `ingest` lists its digest as an output, and a record of
         `ingest` or `dataset` names the table's digest. Nothing else is believed: neither what an
         instance says of itself, nor where a table lies.
- OWN-2  A table that is not at hand lists nothing; what it listed is then treated like any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from audit.record import Record
from stages.artifact import Digest, digest_file
from stages.store import Store

_TABLES: Final = {"ingest": "instances.parquet", "dataset": "ingest.parquet"}
"""Stage → the file of its tree that lists ingestion's outputs."""
_COLUMNS: Final = ("key_version", "output_sha256")


def own_outputs(
    records: Iterable[Record], store: Store, data: Path
) -> dict[str, frozenset[Digest]]:
    """Version of the key → digests of the instances that ingestion made with it (OWN-1).

    Args:
        records: of the project's ledger.
        store: where tables are sought, and
        data: the project's folder of pinned data, which holds one of them.
    """
    from pyarrow.parquet import ParquetFile

    found: dict[str, set[Digest]] = defaultdict(set)
    for path in _tables(records, store, data / _TABLES["dataset"]):
        table = ParquetFile(path)
        if set(_COLUMNS) <= set(table.schema_arrow.names):
            rows = table.read(columns=list(_COLUMNS))
            for version, sha256 in zip(*(rows[name].to_pylist() for name in _COLUMNS), strict=True):
                found[version].add(sha256)
    return {version: frozenset(digests) for version, digests in found.items()}


def _tables(records: Iterable[Record], store: Store, pinned: Path) -> Iterator[Path]:
    """The tables that records name and that are at hand, each once."""
    places: dict[Digest, list[Path]] = defaultdict(list)
    for record in records:
        if record.stage not in _TABLES or (record.stage == "ingest" and record.unit):
            continue  # a unit's table is part of the merged one
        (tree, sha256), *files = record.subjects
        for name, digest in files:
            if name == f"{tree}/{_TABLES[record.stage]}":
                here = [store.get(sha256)] if store.has(sha256) else []
                places[digest] += [folder / _TABLES[record.stage] for folder in here]
    for digest, paths in places.items():
        for path in (*paths, pinned):
            if path.is_file() and digest_file(path) == digest:
                yield path
                break
