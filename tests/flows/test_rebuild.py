"""A release rebuilt elsewhere: the same bits, from `data/` and what it cites alone."""

from __future__ import annotations

import filecmp
import json
import shutil
from pathlib import Path

import pytest
from helpers_project import git
from helpers_rebuild import Released, Twin

from stages.artifact import Manifest
from stages.ladder import RUNGS
from stages.runner import CHAIN
from stages.table import read_table

pytestmark = pytest.mark.timeout(900)
SAME = ("kette-phantom-0.1.0.zip", "report.html", "measurements.json")


def _statuses(twin: Twin) -> list[str]:
    """What the ledger of a home says of the stages, in order."""
    records = json.loads(twin.project.call("audit", "show", "--json").stdout)["records"]
    return [row["status"] or row["event"] for row in records]


@pytest.mark.slow
@pytest.mark.rule("REB-1")
@pytest.mark.rule("REB-2")
@pytest.mark.rule("REB-3")
def test_a_release_is_rebuilt_bit_by_bit_in_another_clone_and_home(
    released: Released, tmp_path: Path
) -> None:
    twin = released.clone(tmp_path / "elsewhere" / "deeper")
    before = Manifest.of(twin.data)
    made = twin.project.run("--rebuild", str(released.folder))
    statuses = {row["name"]: row["status"] for row in made["stages"]}
    assert statuses == dict.fromkeys(CHAIN, "ran") | {"ingest": "cited"}
    found = released.compare(twin)
    assert (found.level, found.first_difference, found.causes) == ("R1", None, ())
    assert [rung.name for rung in found.rungs] == list(RUNGS)
    for name in SAME:
        assert filecmp.cmp(released.folder / name, twin.candidate / name, shallow=False)
    assert Manifest.of(twin.candidate / "cited") == Manifest.of(released.folder / "cited")
    # `data/` and its pin are as they were checked out
    assert Manifest.of(twin.data) == before
    assert git(twin.folder, "status", "--porcelain") == ""
    assert not (twin.project.home / "kette-phantom" / "vault").exists()
    # its own ledger says honestly what was cited, and the evidence beside it is whole
    told = _statuses(twin)
    assert told.count("cited") == 1
    bundle, key = twin.candidate / SAME[0], twin.project.home / "kette-phantom/keys/signer.pub"
    twin.project.call("verify", str(bundle), "--key", str(key))
    twin.project.call("audit", "verify")


@pytest.mark.slow
@pytest.mark.rule("TRN-1")
def test_loader_workers_and_a_wiped_store_change_no_bit(released: Released, tmp_path: Path) -> None:
    twin = released.twin(tmp_path)
    for workers in ("1", "2"):
        shutil.rmtree(twin.folder / ".kette" / "store")
        twin.variables = {"KETTE_LOADER_WORKERS": workers}
        twin.climb("rebuild", str(released.folder))
        found = released.compare(twin)
        assert (found.level, found.first_difference) == ("R1", None)
        assert twin.ladder().facts.settings["loader_workers"] == int(workers)


@pytest.mark.slow
@pytest.mark.rule("CIT-3")
@pytest.mark.parametrize("split", ["train", "test"])
def test_without_an_erased_subject_the_others_are_rebuilt_if_asked(
    released: Released, tmp_path: Path, split: str
) -> None:
    twin = released.twin(tmp_path)
    rows = read_table(twin.data / "splits.parquet")
    gone = next(row["subject"] for row in rows if row["split"] == split)
    files = sum(path.is_file() for path in (twin.data / gone).rglob("*"))
    shutil.rmtree(twin.data / gone)
    told = twin.climb("rebuild", str(released.folder), check=1)
    assert f"subject {gone} is missing ({files} files)" in told
    assert "--without-missing" in told
    twin.climb("rebuild", str(released.folder), "--without-missing")
    found = released.compare(twin)
    assert found.level != "R1"
    assert found.first_difference == "inputs"
    assert found.causes == (f"subject {gone} is missing ({files} files)",)
    assert twin.ladder().facts.missing == (gone,)
    scored = {row["subject"] for row in twin.ladder().scores}
    assert (gone in {row["subject"] for row in released.ladder().scores}) == (split == "test")
    assert gone not in scored


def _images(twin: Twin) -> list[Path]:
    annotations = twin_annotations(twin)
    return [path for path in sorted(twin.data.glob("s-*/*.zip")) if path not in annotations]


def twin_annotations(twin: Twin) -> list[Path]:
    rows = read_table(twin.data / "series.parquet")
    return sorted(
        twin.data / row["subject"] / f"{row['series']}.zip"
        for row in rows
        if row["kind"] == "annotation"
    )


def _rewrite(path: Path, data: bytes) -> None:
    """Put other bytes in a file's place; its other names keep the old ones."""
    path.unlink()
    path.write_bytes(data)


def _bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    _rewrite(path, bytes(data))


@pytest.mark.rule("CIT-2")
def test_what_is_wrong_with_data_is_named_and_nothing_runs(
    released: Released, tmp_path: Path
) -> None:
    twin = released.twin(tmp_path)
    image, label = _images(twin)[0], twin_annotations(twin)[0]
    consensus = next(iter(sorted(twin.data.glob("s-*/consensus/*.dcm"))))
    table = twin.data / "splits.parquet"
    spare = tmp_path / "spare"
    shutil.copytree(twin.data, spare)
    added = image.with_name("2.25.1.zip")
    added.write_bytes(b"new")
    told = {
        f"pixels or header of series {image.stem} of {image.parent.name}": lambda: _bit(image),
        f"label {label.stem} of {label.parent.name} (a reader's": lambda: _bit(label),
        f"consensus label of series {consensus.stem}": lambda: _bit(consensus),
        "table splits.parquet": lambda: _bit(table),
        f"missing: pixels or header of series {image.stem}": image.unlink,
        "added: pixels or header of series 2.25.1": lambda: added.write_bytes(b"new"),
    }
    for cause, change in told.items():
        shutil.rmtree(twin.data)
        shutil.copytree(spare, twin.data)
        change()
        assert cause in twin.climb("rebuild", str(released.folder), check=1)
    assert not twin.candidate.exists()


def test_a_rebuild_takes_nothing_else_and_a_folder_of_a_release(
    released: Released, tmp_path: Path
) -> None:
    twin = released.twin(tmp_path)
    told = twin.project.call("run", "--rebuild", str(released.folder), "--from", "train", check=2)
    assert "without `--source`" in told.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no citation" in twin.climb("rebuild", str(empty), check=2)
    twin.data.rename(tmp_path / "away")
    assert "no `data/`" in twin.climb("rebuild", str(released.folder), check=2)
