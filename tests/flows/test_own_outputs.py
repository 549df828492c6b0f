"""ING-13, OWN-1: what this project put out comes back through the command line unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers_home import files_of
from helpers_project import Project, make

from stages.archive import read_zip
from stages.ingest.sources import digest
from stages.phantom.cohort import generate
from stages.table import read_table, write_table


def members(out: Path) -> dict[str, bytes]:
    """`<subject>/<series>/<sop>.dcm` → bytes, of what `--out` wrote."""
    return {
        f"{path.parent.name}/{path.stem}/{name}": data
        for path in sorted(out.rglob("*.zip"))
        for name, data in read_zip(path, limit_bytes=1 << 28, limit_entries=9_999)
    }


def unpacked(found: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for number, data in enumerate(found.values()):
        (folder / f"IM{number:04}").write_bytes(data)
    return folder


def vault_of(project: Project) -> dict[str, bytes]:
    (folder,) = project.home.glob("*/vault")
    return files_of(folder)


@pytest.mark.slow
@pytest.mark.rule("ING-13")
def test_own_outputs_come_back_unchanged_and_what_no_record_names_is_treated_like_any(
    tmp_path: Path,
) -> None:
    generate(tmp_path / "incoming", subjects=2, unlabeled=0, defects=False)
    project = make(tmp_path, tmp_path / "incoming", ingest={"pseudonym_key": "vault"})
    project.call("ingest", str(project.source), "--out", str(tmp_path / "first"), "--json")
    first, before = members(tmp_path / "first"), vault_of(project)
    assert len({name.partition("/")[0] for name in first}) == 2

    own = unpacked(first, tmp_path / "own")
    project.call("ingest", str(own), "--out", str(tmp_path / "again"), "--json")
    assert members(tmp_path / "again") == first
    assert vault_of(project) == before

    store = project.folder / ".kette" / "store"
    shutil.rmtree(store)  # the tables are gone; one is forged in the place of the pinned one
    rows = read_table(tmp_path / "first" / "merged" / "instances.parquet")
    forged = [{"key_version": row["key_version"], "output_sha256": digest_of} for row, digest_of in
              zip(rows, (digest(data) for data in first.values()), strict=True)]  # fmt: skip
    columns = {"key_version": "string", "output_sha256": "string"}
    write_table(project.folder / "data" / "ingest.parquet", forged, columns)
    project.call("plan", "--source", str(own), "--json")
    assert vault_of(project) == before
    project.call("ingest", str(own), "--out", str(tmp_path / "claims"), "--json")
    claims = members(tmp_path / "claims")
    assert len(claims) == len(first)
    assert not set(claims) & set(first)
    assert vault_of(project) != before
