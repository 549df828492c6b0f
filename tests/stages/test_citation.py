"""Ingestion cited and given back: the same trees, or a refusal that names what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.errors import Refused, WrongUse
from stages import citation
from stages.artifact import Artifact, Manifest
from stages.ingest.accounts import CLASS_LABELS, INSTANCES, SERIES, TABLES
from stages.ingest.params import Parameters
from stages.ingest.quarantine import Reason
from stages.ingest.stage import STAGE
from stages.planned import StageResult
from stages.stage import Check, Gate, Json, MergeContext, Verdict
from stages.store import Entry, Store
from stages.table import read_table, write_table

SUBJECTS = ("s-a", "s-b")
NOTES = {
    "files": 9,
    "duplicates": 0,
    "ignored": 1,
    "label_tables": [],
    "labels_unknown": 0,
    "quarantined": [["e" * 64, Reason.NOT_DICOM.value]],
}
GATE = Gate(
    checks=(Check(rule="ING-11", figure="2", limit="1", verdict=Verdict.FINDINGS, remedy="Read."),)
)
TASK = {
    "modality": "CT",
    "structures": [
        {"name": "organ", "label": 1, "segment_label": "organ",
         "code": {"value": "1", "scheme": "SCT", "meaning": "Liver"}}
    ],
}  # fmt: skip


def _rows(subject: str) -> dict[str, list[dict[str, Any]]]:
    def series(uid: str, kind: str) -> dict[str, Any]:
        return _filled(SERIES) | {"subject": subject, "series": uid, "kind": kind}

    return {
        "series": [series(f"{subject}.1", "image"), series(f"{subject}.2", "annotation")],
        "instances": [_filled(INSTANCES) | {"subject": subject}],
        "class_labels": [_filled(CLASS_LABELS) | {"subject": subject}],
        "quarantine": [{"input_sha256": subject[-1] * 64, "reason": Reason.NOT_DICOM.value}],
    }


def _filled(columns: dict[str, str]) -> dict[str, Any]:
    """A row with some value of its type in every column."""
    some = {"string": "x", "int64": 1, "double": 0.5, "bool": True}
    return {name: some[kind] for name, kind in columns.items()}


def _write(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    for name, columns in TABLES.items():
        write_table(folder / f"{name}.parquet", rows[name], columns)


def _merge(units: Any, notes: Json, out: Path) -> tuple[Json, Gate]:
    parameters = Parameters.model_validate(
        {"project": {"name": "p", "epoch": "2026-01-01T00:00:00Z"}, "task": TASK}
    )
    outcome = STAGE.merge(MergeContext(parameters, units, {}, notes, out))
    return outcome.findings, outcome.gate


class Released:
    """A store with an ingestion, its `data/`, and its citation."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store")
        self.data, self.release = folder / "data", folder / "release"
        units, keys = {}, {}
        for number, subject in enumerate(SUBJECTS):
            out = self.store.scratch()
            _write(out, _rows(subject))
            for uid in ("1", "2"):
                (out / f"{subject}.{uid}.zip").write_bytes(f"{subject}{uid}".encode())
            units[subject], keys[subject] = self.store.put(out), f"{number}" * 64
            for path in self.store.get(units[subject]).glob("*.zip"):
                target = self.data / subject / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        out = self.store.scratch()
        findings, _ = _merge({s: self.store.get(units[s]) for s in SUBJECTS}, NOTES, out)
        merged = self.store.put(out)
        (self.data / "splits.parquet").write_bytes(b"splits")
        keys[""] = "f" * 64
        self.store.remember(
            Entry(
                stage="ingest",
                unit="",
                key=keys[""],
                parts={"facts": NOTES},
                digest=merged,
                findings=findings,
                measured={},
                gate=GATE,
                started="2026-01-01T00:00:00+00:00",
                finished="2026-01-01T00:00:00+00:00",
            )
        )
        artifact = Artifact(stage="ingest", units=units, merged=merged)
        self.result = StageResult(artifact, keys, "ran", 1.0, GATE, findings, {}, 2, 2)
        citation.write(self.release / "cited", self.result, self.store, self.files())

    def files(self) -> dict[str, str]:
        return {entry.path: entry.sha256 for entry in Manifest.of(self.data).files}

    def check(self, *, without_missing: bool = False) -> citation.Citation:
        found = citation.read(self.release)
        citation.check(found, self.files(), without_missing=without_missing)
        return found


@pytest.fixture
def released(tmp_path: Path) -> Released:
    return Released(tmp_path)


@pytest.mark.rule("CIT-1")
def test_data_and_citation_give_back_the_same_trees(released: Released, tmp_path: Path) -> None:
    store = Store(tmp_path / "other")
    found = released.check()
    cited = citation.restore(found, released.release, released.data, store, merge=_merge)
    assert cited.artifact == released.result.artifact
    assert cited.keys == released.result.keys
    assert (cited.gate, cited.findings) == (GATE, released.result.findings)
    assert cited.missing == ()
    for digest in (*cited.artifact.units.values(), cited.artifact.merged):
        assert Manifest.of(store.get(digest, check=True)).digest == digest


def test_the_same_ingestion_is_cited_by_the_same_bytes(released: Released, tmp_path: Path) -> None:
    again = Released(tmp_path / "again")
    assert Manifest.of(again.release) == Manifest.of(released.release)


def _pixel(released: Released) -> str:
    (released.data / "s-a/s-a.1.zip").write_bytes(b"other")
    return "pixels or header of series s-a.1 of s-a (s-a/s-a.1.zip)"


def _label(released: Released) -> str:
    (released.data / "s-b/s-b.2.zip").write_bytes(b"other")
    return "label s-b.2 of s-b (a reader's annotation) (s-b/s-b.2.zip)"


def _absent(released: Released) -> str:
    (released.data / "s-b/s-b.1.zip").unlink()
    return "missing: pixels or header of series s-b.1 of s-b (s-b/s-b.1.zip)"


def _added(released: Released) -> str:
    (released.data / "s-a/s-a.9.zip").write_bytes(b"new")
    return "added: pixels or header of series s-a.9 of s-a (s-a/s-a.9.zip)"


def _table(released: Released) -> str:
    (released.data / "splits.parquet").write_bytes(b"others")
    return "table splits.parquet"


def _lost_table(released: Released) -> str:
    (released.data / "splits.parquet").unlink()
    return "missing: table splits.parquet"


@pytest.mark.rule("CIT-2")
@pytest.mark.parametrize("change", [_pixel, _label, _absent, _added, _table, _lost_table])
@pytest.mark.parametrize("without_missing", [False, True])
def test_what_differs_in_data_is_named(
    released: Released, change: Any, without_missing: bool
) -> None:
    told = change(released)
    with pytest.raises(Refused) as caught:
        released.check(without_missing=without_missing)
    assert caught.value.what == f"`data/` is not the release's: {told}."
    assert "dvc checkout" in caught.value.remedy


@pytest.mark.rule("CIT-3")
def test_an_erased_subject_is_gone_without_only_if_asked(
    released: Released, tmp_path: Path
) -> None:
    shutil.rmtree(released.data / "s-b")
    with pytest.raises(Refused, match=r"subject s-b is missing \(2 files\)") as caught:
        released.check()
    assert "--without-missing" in caught.value.remedy
    found = released.check(without_missing=True)
    gone = found.missing(released.files())
    store = Store(tmp_path / "other")
    cited = citation.restore(found, released.release, released.data, store, merge=_merge, gone=gone)
    assert cited.missing == ("s-b",)
    assert cited.artifact.units == {"s-a": released.result.artifact.units["s-a"]}
    assert "s-b" not in cited.keys
    merged = store.get(cited.artifact.merged)
    assert {row["subject"] for row in read_table(merged / "series.parquet")} == {"s-a"}
    quarantined = {row["input_sha256"] for row in read_table(merged / "quarantine.parquet")}
    assert quarantined == {"a" * 64, "e" * 64}  # its own is gone, nobody's stays


@pytest.mark.rule("CIT-3")
def test_without_any_subject_nothing_is_rebuilt(released: Released) -> None:
    for subject in SUBJECTS:
        shutil.rmtree(released.data / subject)
    with pytest.raises(Refused, match="subject s-a is missing"):
        released.check(without_missing=True)


def test_a_subject_missing_beside_a_changed_file_is_not_enough(released: Released) -> None:
    shutil.rmtree(released.data / "s-b")
    told = _pixel(released)
    with pytest.raises(Refused) as caught:
        released.check(without_missing=True)
    assert told in caught.value.what


@pytest.mark.rule("CIT-1")
def test_a_file_that_changes_after_the_check_is_not_taken(
    released: Released, tmp_path: Path
) -> None:
    found = released.check()
    _pixel(released)
    with pytest.raises(Refused, match="changed while they were read"):
        citation.restore(
            found, released.release, released.data, Store(tmp_path / "other"), merge=_merge
        )


@pytest.mark.rule("CIT-1")
@pytest.mark.parametrize("name", ["s-a/series.parquet", "merged/quarantine.parquet"])
def test_a_cited_table_that_changed_or_is_gone_is_named(released: Released, name: str) -> None:
    path = released.release / "cited" / name
    path.write_bytes(b"other")
    with pytest.raises(Refused, match=name):
        citation.read(released.release)
    path.unlink()
    with pytest.raises(Refused, match=name):
        citation.read(released.release)


@pytest.mark.parametrize("text", [None, "no json", '{"schema_version": 2}'])
def test_a_folder_without_a_readable_citation_is_wrong_use(
    released: Released, text: str | None
) -> None:
    path = released.release / "cited" / "ingest.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(WrongUse, match="no citation"):
        citation.read(released.release)
