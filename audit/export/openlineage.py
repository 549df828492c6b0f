"""OpenLineage run events, one JSON object a line: a START and a COMPLETE (or FAIL) for each run.

A unit or merge of a stage is a job in the ledger's namespace; its trees are datasets, named by
label, their digests the versions. What is no stage's run (keys, signatures, releases) has no place
in OpenLineage and is left out. The facet `kette_ledger` names the record.

Source: OpenLineage 2-0-2 (RunEvent), DatasetVersionDatasetFacet 1-0-1, ProcessingEngineRunFacet
1-1-1, ErrorMessageRunFacet 1-0-1.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from audit.canonical import canonical_json
from audit.reading import Entry, started
from audit.record import Record
from audit.show import verdict

Json = dict[str, Any]

PRODUCER = "urn:kette:runner:v1"
_SPEC = "https://openlineage.io/spec"
_RUN_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_RUN_FACET = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunFacet"
_VERSION = f"{_SPEC}/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
_ERROR = f"{_SPEC}/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"


def export(found: Iterable[Entry], origin: str) -> bytes:
    """Two events for each stage's run, in order of index."""
    lines = []
    for entry in found:
        if entry.record.stage is not None:
            lines += [canonical_json(event) for event in _events(entry, origin)]
    return b"".join(line + b"\n" for line in lines)


def _events(entry: Entry, origin: str) -> tuple[Json, Json]:
    record = entry.record
    refused = record.gate is not None and verdict(record.gate) == "refused"
    job = f"{record.stage}/{record.unit}" if record.unit else str(record.stage)
    facets: Json = {
        "kette_ledger": {
            "_producer": PRODUCER,
            "_schemaURL": _RUN_FACET,
            "index": record.index,
            "keyid": entry.keyid,
            "status": record.status,
            "key": record.key,
            "commit": record.commit,
        }
    }
    if refused and record.gate is not None:
        told = [c["remedy"] for c in record.gate["checks"] if c["verdict"] == "refused"]
        facets["errorMessage"] = {
            "_producer": PRODUCER,
            "_schemaURL": _ERROR,
            "message": " ".join(told) or "The stage's gate refused.",
            "programmingLanguage": "Python",
        }
    common: Json = {
        "producer": PRODUCER,
        "schemaURL": _RUN_EVENT,
        "job": {"namespace": origin, "name": job},
        "inputs": [_dataset(origin, label, sha) for label, sha in sorted(record.inputs.items())],
    }
    run = {"runId": str(run_id(origin, record))}
    start = {
        **common, "eventType": "START", "eventTime": started(record), "run": run, "outputs": [],
    }  # fmt: skip
    label, sha = record.subjects[0]
    end = {
        **common,
        "eventType": "FAIL" if refused else "COMPLETE",
        "eventTime": record.time,
        "run": {**run, "facets": facets},
        "outputs": [_dataset(origin, label, sha)],
    }
    return start, end


def run_id(origin: str, record: Record) -> uuid.UUID:
    """The record's UUID: the same in every export."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:kette:record:{origin}:{record.index}")


def _dataset(origin: str, label: str, sha: str) -> Mapping[str, Any]:
    version = {"_producer": PRODUCER, "_schemaURL": _VERSION, "datasetVersion": f"sha256:{sha}"}
    return {"namespace": origin, "name": label, "facets": {"version": version}}
