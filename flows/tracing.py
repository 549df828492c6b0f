"""From a file to its evidence: its records, their proof, and the DICOM instances behind it.

Rules:

- TRC-4  What is answered is verified: the proof is checked with the project's keys before a word of
         it is told.
- TRC-5  Instances are read from `data/ingest.parquet` if its digest is the one that the records
         name; otherwise none are told, and why.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audit.errors import Refused, WrongUse
from audit.keys import public_keys
from audit.proof import check, prove
from audit.record import Record
from audit.trace import Trace, traced
from flows.ledger import open_ledger
from stages.artifact import digest_file
from stages.project import Place
from stages.store import write_whole

Json = dict[str, Any]

TABLE = "ingest.parquet"
COHORT = "dataset/cohort"
_SERIES = re.compile(
    r"(?:assess/[^/]+/predictions|dataset/cohort|ingest|annotate)/(?P<subject>[^/]+)/"
    r"(?:consensus/)?(?P<series>[^/]+)\.(?:dcm|zip)"
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def prove_file(project: Path, what: str, out: Path | None) -> Json:
    """Prove a file, and say what it was made of.

    Args:
        project: folder of the project.
        what: a file, or `sha256:…` of a file or tree.
        out: the proof; default: the file's name and `.proof`, in the current folder.

    Returns:
        `digest`, `names`, `proof`, `records` (index, stage, unit, event of each), `made_by`
        (records from the file down to ingestion), `missing`, `subject`, `series`, `instances`.

    Raises:
        WrongUse: there is no such file.
        Refused: no record names it, or the evidence does not hold.
    """
    digest = _digest(what)
    ledger, place, _ = open_ledger(project)
    with _uncollected():
        found = traced(ledger, digest)
        if not found.named:
            raise Refused(
                "No record of this project's ledger names this file among its outputs.",
                "Give a file that a stage made, as it made it, and the project that made it.",
            )
        proof = prove(ledger, found.indexes, public_keys(place.keys))
    target = out or Path(f"{digest[:16] if _DIGEST.fullmatch(what) else Path(what).name}.proof")
    write_whole(target, proof)
    return {
        "digest": digest,
        "names": list(found.names),
        "proof": str(target),
        "records": [_row(record) for record in found.records],
        "missing": list(found.missing),
        **_down(found, place),
    }


def check_proof(proof: Path, key: Path, file: Path | None) -> Json:
    """Verify a proof offline, and that it is about a file.

    Args:
        proof: what `prove_file` wrote, from an untrusted source.
        key: public key (PEM) that the verifier trusts.
        file: what it must be about; None: whatever it is about.

    Returns:
        `ok`, `records`, `first_bad`, `reason`; `names` of the file and `made_by`.

    Raises:
        WrongUse: proof, key or file cannot be read.
    """
    from audit.keys import load_public

    public = load_public(key)
    try:
        raw = proof.read_bytes()
    except OSError as error:
        raise WrongUse(
            "The proof cannot be read.", "Name a file of `kette audit prove`."
        ) from error
    wanted = _digest(str(file)) if file else None
    try:
        records = check(raw, {public.keyid: public})
    except Refused as error:
        return _verdict(0, "proof", error.what)
    named = [r for r in records if wanted is None or any(sha == wanted for _, sha in r.subjects)]
    if not named:
        return _verdict(len(records), "file", "No record of the proof names this file.")
    names = {name: None for r in named for name, sha in r.subjects if sha == wanted}
    return {
        **_verdict(len(records)),
        "names": list(names),
        "made_by": [_row(record) for record in named if wanted is not None],
    }


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles, which walks all decoded records; they have none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _verdict(records: int, first_bad: str | None = None, reason: str | None = None) -> Json:
    return {
        "ok": first_bad is None, "records": records, "first_bad": first_bad, "reason": reason,
    }  # fmt: skip


def _digest(what: str) -> str:
    if match := _DIGEST.fullmatch(what):
        return match[1]
    try:
        return digest_file(Path(what))
    except OSError:
        raise WrongUse(
            "There is no such file.", "Name a file, or `sha256:` and 64 digits."
        ) from None


def _down(found: Trace, place: Place) -> Json:
    """The records from the file down to ingestion, and the instances there."""
    made_by = list(found.named)
    series = next((match for name in found.names if (match := _SERIES.fullmatch(name))), None)
    told: Json = {"subject": None, "series": None, "instances": None, "note": None}
    if series is not None:
        told |= series.groupdict()
        below = (found.maker(COHORT), found.maker(f"ingest/{series['subject']}"))
        made_by += [r for r in below if r is not None and r not in made_by]
        told |= _instances(found, place, series["subject"], series["series"])
    return {"made_by": [_row(record) for record in made_by], **told}


def _instances(found: Trace, place: Place, subject: str, series: str) -> Json:
    """The series' instances, from a table that the records name (TRC-5)."""
    import pyarrow.parquet as pq

    cohort = found.maker(COHORT)
    if cohort is None:
        return {"note": "The records reach no dataset, whose table lists the instances."}
    digest = dict(cohort.subjects).get(f"{COHORT}/{TABLE}")
    path = place.data / TABLE
    if not path.is_file() or digest_file(path) != digest:
        return {
            "note": f"`data/{TABLE}` is not the one of these records: check out the commit of the "
            "release, run `dvc checkout data.dvc`, and ask again."
        }
    # By hand: to filter, pyarrow imports all of pandas, which takes longer than the search.
    columns = ["sop", "input_sha256", "output_sha256"]
    rows = pq.ParquetFile(path).read(columns=["subject", "series", *columns])
    names = zip(rows["subject"].to_pylist(), rows["series"].to_pylist(), strict=True)
    found_at = [index for index, name in enumerate(names) if name == (subject, series)]
    return {"instances": [{c: rows[c][index].as_py() for c in columns} for index in found_at]}


def _row(record: Record) -> Json:
    return {
        "index": record.index,
        "stage": record.stage,
        "unit": record.unit,
        "event": record.kind,
        "time": record.time,
    }
