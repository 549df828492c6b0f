"""A chain that starts from a release's folder instead of incoming studies: `kette run --rebuild`.

Rules:

- REB-1  `data/` is read as it was checked out, and is never written.
- REB-2  Ingestion is cited from the release's `cited/`; every stage after it runs. Measurements are
         replayed from its `measurements.json`.
- REB-3  No vault and no source is opened, so any machine and any KETTE_HOME will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audit.errors import WrongUse
from stages import citation
from stages.artifact import Digest
from stages.planned import StageResult
from stages.pool import load_stage
from stages.project import Place
from stages.rungs import files_of
from stages.runner import Run
from stages.stage import Gate, Json, MergeContext


@dataclass(frozen=True)
class FromRelease:
    """The release's folder, held against the project's `data/`."""

    folder: Path
    citation: citation.Citation
    files: Mapping[str, Digest]
    """Path below `data/` → SHA-256, as checked out."""
    missing: tuple[str, ...]
    """Subjects that `data/` lacks as a whole."""

    @property
    def cited(self) -> Path:
        return self.folder / citation.CITED

    @property
    def measurements(self) -> Path:
        return self.folder / "measurements.json"


def open_release(folder: Path, place: Place, *, without_missing: bool) -> FromRelease:
    """Read a release's folder and check `data/` against it.

    Raises:
        WrongUse: the folder holds no citation, or the project no `data/`.
        Refused: naming what of `data/` is missing or changed.
    """
    found = citation.read(folder)
    if not place.data.is_dir():
        raise WrongUse("There is no `data/` to rebuild from.", "Check it out: `dvc checkout`.")
    files = files_of(place.data)
    citation.check(found, files, without_missing=without_missing)
    return FromRelease(folder, found, files, found.missing(files))


def cite(run: Run, release: FromRelease) -> StageResult:
    """Give a run ingestion's result from the release (REB-2)."""
    stage = load_stage("ingest")
    parameters = run.planner.parameters(stage)

    def merge(units: Mapping[str, Path], notes: Json, out: Path) -> tuple[Json, Gate]:
        outcome = stage.merge(MergeContext(parameters, units, {}, notes, out))
        return outcome.findings, outcome.gate

    cited = citation.restore(
        release.citation,
        release.folder,
        run.place.data,
        run.store,
        merge=merge,
        gone=release.missing,
    )
    return run.cite(cited)
