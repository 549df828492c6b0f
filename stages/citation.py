"""Ingestion, cited: what a rebuild cannot make again, because its inputs are identities.

A release keeps in `cited/` what `data/` lacks to give ingestion's trees back bit for bit: the small
tables of every unit, and `ingest.json` with digests, gate and findings. The stages after it then
run again for real.

Rules:

- CIT-1  `data/` and `cited/` give back the very trees that the release stood on, or nothing: every
         file is held against the citation first.
- CIT-2  What is missing or changed in `data/` is named by pseudonym and path below `data/`.
- CIT-3  Without a subject that is missing as a whole (erased) the others are given back, if asked;
         ingestion's own merge then makes their tables, and the subject is named as missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from audit.canonical import canonical_json
from audit.errors import Refused, WrongUse
from stages.artifact import Artifact, Digest, FileEntry, Manifest, digest_file
from stages.causes import of_inputs
from stages.key import code_files
from stages.planned import StageResult
from stages.stage import Gate, Json
from stages.store import Store

CITED, INGEST, MERGED = "cited", "ingest.json", "merged"
Gone = tuple[str, ...]
Merge = Callable[[Mapping[str, Path], Json, Path], tuple[Json, Gate]]
"""Trees of units, notes, folder to write to → findings and gate: ingestion's own merge."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tree(_Frozen):
    """One tree of ingestion."""

    key: Digest
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> Digest:
        return Manifest(files=self.files).digest

    @property
    def series(self) -> tuple[FileEntry, ...]:
        """The files that `data/` has."""
        return tuple(entry for entry in self.files if entry.path.endswith(".zip"))


class Citation(_Frozen):
    """`cited/ingest.json`."""

    schema_version: Literal[1] = 1
    units: Mapping[str, Tree]
    """Subject (pseudonym) → its tree."""
    merged: Tree
    gate: Gate
    findings: Json
    measured: Json
    notes: Json
    """What planning found; ingestion's merge reads it."""
    code: Mapping[str, Digest]
    """Files of ingestion's code → SHA-256."""
    data: Mapping[str, Digest]
    """Path below `data/` → SHA-256: all of it."""
    annotations: tuple[str, ...]
    """Paths below `data/` that are readers' annotations."""

    def missing(self, files: Mapping[str, Digest]) -> tuple[str, ...]:
        """Subjects that the files lack as a whole."""
        had, have = _subjects(self.data), _subjects(files)
        return tuple(sorted(had - have))


@dataclass(frozen=True)
class Cited:
    """Ingestion's result, given back."""

    artifact: Artifact
    keys: Mapping[str, Digest]
    """Unit → key; the merge's under the empty name."""
    gate: Gate
    findings: Json
    measured: Json
    missing: tuple[str, ...]


def write(folder: Path, result: StageResult, store: Store, data: Mapping[str, Digest]) -> None:
    """Cite an ingestion.

    Args:
        folder: `cited/`, made here.
        result: how it ended.
        store: holds its trees.
        data: path below `data/` → SHA-256.
    """
    from stages.table import read_table

    trees = {**result.artifact.units, MERGED: result.artifact.merged}
    for name, digest in trees.items():
        for path in sorted(store.get(digest).iterdir()):
            if path.suffix != ".zip":
                target = folder / name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    whole = store.entry(result.key)
    assert whole is not None  # noqa: S101 - its tree was just read
    citation = Citation(
        units={
            name: Tree(key=result.keys[name], files=store.manifest(digest).files)
            for name, digest in result.artifact.units.items()
        },
        merged=Tree(key=result.key, files=store.manifest(result.artifact.merged).files),
        gate=result.gate,
        findings=result.findings,
        measured=result.measured,
        notes=whole.parts["facts"],
        code=code_files("ingest"),
        data=dict(data),
        annotations=tuple(
            f"{row['subject']}/{row['series']}.zip"
            for row in read_table(store.get(result.artifact.merged) / "series.parquet")
            if row["kind"] == "annotation"
        ),
    )
    (folder / INGEST).write_bytes(canonical_json(citation.model_dump(mode="json")))


def read(release: Path) -> Citation:
    """Read the citation of a release's folder.

    Raises:
        WrongUse: the folder has none, or one of a newer Kette.
        Refused: a table beside it is missing or is not the cited one.
    """
    folder = release / CITED
    try:
        citation = Citation.model_validate_json((folder / INGEST).read_bytes())
    except (OSError, ValidationError):
        raise WrongUse(
            "The folder given with `--rebuild` has no citation that this Kette can read.",
            "Name a release's folder, or rebuild it with the code of its own tag.",
        ) from None
    for name, tree in _trees(citation):
        for entry in tree.files:
            path = folder / name / entry.path
            if entry not in tree.series and not _is(path, entry):
                raise Refused(
                    f"The cited table {name}/{entry.path} is missing or changed.",
                    "Fetch the release's folder again.",
                )
    return citation


def check(citation: Citation, files: Mapping[str, Digest], *, without_missing: bool) -> None:
    """Hold `data/` against the citation (CIT-1, CIT-2). Pure.

    Args:
        citation: of the release.
        files: path below `data/` → SHA-256, as checked out.
        without_missing: whether subjects may be missing as a whole.

    Raises:
        Refused: naming every subject and file that differs.
    """
    gone = citation.missing(files)
    others = {path: d for path, d in citation.data.items() if path.partition("/")[0] not in gone}
    problems = of_inputs(others, files, annotations=citation.annotations)
    if problems:
        raise Refused(
            f"`data/` is not the release's: {'; '.join(problems)}.",
            "Check `data/` out again (`dvc checkout --force data.dvc`).",
        )
    if gone and not (without_missing and _subjects(files)):
        told = of_inputs(citation.data, files, annotations=citation.annotations)
        raise Refused(
            f"`data/` is not the release's: {'; '.join(told)}.",
            "Restore them; or, if they were erased, rebuild with `--without-missing`.",
        )


def restore(
    citation: Citation, release: Path, data: Path, store: Store, *, merge: Merge, gone: Gone = ()
) -> Cited:
    """Put ingestion's trees back into the store (CIT-1, CIT-3).

    Args:
        citation: of the release's folder.
        release: that folder.
        data: `data/`, checked against the citation.
        store: takes the trees.
        merge: ingestion's own merge, for the case that subjects are missing.
        gone: those subjects.

    Raises:
        Refused: a file changed since it was checked.
    """
    kept = {name: tree for name, tree in citation.units.items() if name not in gone}
    units = {
        name: _put(tree, release / CITED / name, data / name, store) for name, tree in kept.items()
    }
    keys = {name: tree.key for name, tree in kept.items()} | {"": citation.merged.key}
    if not gone:
        merged = _put(citation.merged, release / CITED / MERGED, data, store)
        findings, gate = citation.findings, citation.gate
    else:
        out = store.scratch()
        trees = {name: store.get(digest) for name, digest in sorted(units.items())}
        findings, gate = merge(trees, citation.notes, out)
        merged = store.put(out)
    artifact = Artifact(stage="ingest", units=units, merged=merged)
    return Cited(artifact, keys, gate, findings, citation.measured, gone)


def _put(tree: Tree, tables: Path, series: Path, store: Store) -> Digest:
    """Lay one tree out of its tables and series, and store it."""
    from stages.dataset.links import link

    out = store.scratch()
    for entry in tree.files:
        if entry in tree.series:
            link(series / entry.path, out / entry.path)
        else:
            shutil.copyfile(tables / entry.path, out / entry.path)
    digest = store.put(out)
    if digest != tree.digest:
        raise Refused(
            f"The series of {series.name} in `data/` changed while they were read.",
            "Let nothing write to `data/`, then run again.",
        )
    return digest


def _trees(citation: Citation) -> Iterator[tuple[str, Tree]]:
    yield from citation.units.items()
    yield MERGED, citation.merged


def _subjects(files: Mapping[str, Any]) -> set[str]:
    return {path.partition("/")[0] for path in files if "/" in path}


def _is(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and digest_file(path) == entry.sha256
