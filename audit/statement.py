"""Statements: what a record of the ledger says, before it is signed.

Rules:

- STM-1  A statement is an in-toto Statement v1. A stage's run carries a SLSA provenance v1
         predicate; anything else that happened carries Kette's event predicate.
- STM-2  Every fact stands once. What SLSA has no field for is in the extension `kette_stage`.
- STM-3  Integers beyond ±(2**53 - 1) are written as strings: other readers of JSON, protobuf's
         structs among them, would round them.
- STM-4  Times are UTC with microseconds. Order is by index in the ledger, never by time.

Sources: in-toto Attestation Framework v1 (Statement, ResourceDescriptor); SLSA v1.0 provenance,
where extension fields are named `<vendor>_<field>`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement

from audit.canonical import digest_json

Json = dict[str, Any]

PROVENANCE = "https://slsa.dev/provenance/v1"
EVENT = "urn:kette:event:v1"
BUILD_TYPE = "urn:kette:stage:v1"
BUILDER = "urn:kette:runner:v1"

_LARGEST_INTEGER = 2**53 - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def statement(
    *,
    subjects: Sequence[tuple[str, str]],
    stage: str,
    unit: str,
    key: str,
    parameters: Json,
    inputs: Mapping[str, str],
    commit: str | None,
    lock: str,
    environment: Json,
    findings: Json,
    measured: Json,
    gate: Json | None,
    status: str,
    started: datetime,
    finished: datetime,
) -> Json:
    """What one unit of a stage made, of what, and how.

    Args:
        subjects: name and SHA-256 of each output.
        stage: the stage's name.
        unit: a pseudonym or fixed word.
        key: the unit's key in the store.
        parameters: the stage's resolved parameters.
        inputs: label → SHA-256 of each input.
        commit: git commit of the project, where there is one.
        lock: SHA-256 of the lock.
        environment: versions, threads, instruction set: facts about the machine's class.
        findings: the stage's own findings.
        measured: seconds, bytes of memory: what a rebuild replays.
        gate: the stage's checks and verdict; only a merge has one.
        status: `ran`, `reused`, `recovered` or another word of the runner's.
        started: aware time.
        finished: aware time.

    Raises:
        ValueError: for a value that JSON or the in-toto and SLSA formats do not allow.
    """
    dependencies: list[Json] = [
        {"name": label, "digest": {"sha256": _sha256(digest)}}
        for label, digest in sorted(inputs.items())
    ]
    dependencies.append({"name": "lock", "digest": {"sha256": _sha256(lock)}})
    if commit is not None:
        if not _COMMIT.fullmatch(commit):
            raise ValueError("a commit must be a full git object name")
        dependencies.append({"name": "commit", "digest": {"gitCommit": commit}})
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"stage": stage, "unit": unit, "parameters": parameters},
            "internalParameters": {"key": _sha256(key), "environment": environment},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": BUILDER},
            "metadata": {"startedOn": utc_text(started), "finishedOn": utc_text(finished)},
        },
        "kette_stage": {
            "status": status,
            "findings": findings,
            "measured": measured,
            "gate": gate,
        },
    }
    return _validated(subjects, PROVENANCE, predicate)


def event(
    kind: str, *, at: datetime, details: Json, subjects: Sequence[tuple[str, str]] = ()
) -> Json:
    """Something that happened and is no stage's run: a look at the test split, a new vault.

    in-toto asks for a subject; where none is given, it is the digest of the details themselves.

    Raises:
        ValueError: as `statement`.
    """
    details = _plain(details)
    predicate = {"kind": kind, "at": utc_text(at), "details": details}
    return _validated(subjects or [("details", digest_json(details))], EVENT, predicate)


def _validated(subjects: Sequence[tuple[str, str]], predicate_type: str, predicate: Json) -> Json:
    """The statement as plain JSON, after the in-toto library has accepted it.

    The library's own form is not kept: its protobuf structs turn integers into floats.
    """
    predicate = _plain(predicate)
    descriptors = [{"name": name, "digest": {"sha256": _sha256(sha)}} for name, sha in subjects]
    Statement(
        [ResourceDescriptor(name=d["name"], digest=d["digest"]).pb for d in descriptors],
        predicate_type,
        predicate,
    ).validate()
    if predicate_type == PROVENANCE:
        try:
            ParseDict(predicate, Provenance(), ignore_unknown_fields=True)
        except ParseError as error:
            raise ValueError("the predicate is no SLSA provenance v1") from error
    return {
        "_type": STATEMENT_TYPE_URI,
        "subject": descriptors,
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def _plain(value: Any) -> Any:
    """A copy that holds only JSON's own types, with large integers as strings (STM-3)."""
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value) if abs(value) <= _LARGEST_INTEGER else str(int(value))
        case float() if math.isfinite(value):
            return float(value)
        case Mapping() if all(isinstance(name, str) for name in value):
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    raise ValueError(f"a statement holds plain JSON; {type(value).__name__} is not")


def _sha256(digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        raise ValueError("a digest must be a SHA-256 in lower-case hexadecimal")
    return digest


def utc_text(moment: datetime) -> str:
    """A time as statements carry it (STM-4).

    Raises:
        ValueError: for a time without a zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time must carry its zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
