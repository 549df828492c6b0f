"""DVC's objects one by one: work tree, cache, remotes; lost, damaged and erased ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_project import git

from flows.objects import Objects, md5_of
from flows.retrieval import Dataset, lay_data
from flows.template import IGNORE

FILES = {
    "splits.parquet": b"splits",
    "kp-1/one.zip": b"series 1",
    "kp-1/consensus/a.dcm": b"consensus",
    "kp-2/two.zip": b"series 2",
}


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose `data/` is pinned and pushed to a remote that is named relative to it."""
    project = tmp_path_factory.mktemp("world") / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    remote = shelf\n"
        '[remote "shelf"]\n    url = ../../shelf\n'
    )
    (project / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    for path, data in FILES.items():
        (project / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (project / "data" / path).write_bytes(data)
    (project / ".gitignore").write_text("".join(f"{line}\n" for line in IGNORE))
    (project / "releases" / "1.0.0").mkdir(parents=True)
    (project / "releases" / "1.0.0" / "report.html").write_bytes(b"report")
    git(project, "init", "--quiet")
    dvc = [sys.executable, "-W", "ignore", "-m", "dvc"]
    for words in (["add", "-q", "data", "releases/1.0.0"], ["push", "-q"]):
        subprocess.run([*dvc, *words], cwd=project, check=True, capture_output=True)
    return project


@pytest.fixture
def project(pinned: Path, tmp_path: Path) -> Path:
    shutil.copytree(pinned.parent, tmp_path / "world")
    return tmp_path / "world" / "project"


def _pin(project: Path, name: str = "data") -> str:
    (line,) = [x for x in (project / f"{name}.dvc").read_text().splitlines() if "md5:" in x][:1]
    return line.split()[-1]


def _cached(project: Path, data: bytes) -> Path:
    (project / "probe").write_bytes(data)
    name = md5_of(project / "probe")
    return project / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]


def _forget(project: Path, *, cache: bool = True, remote: bool = False) -> None:
    shutil.rmtree(project / "data")
    if cache:
        shutil.rmtree(project / ".dvc" / "cache")
    if remote:
        shutil.rmtree(project.parent / "shelf")


def test_a_clone_gets_every_file_from_the_remote_and_keeps_it(
    project: Path, tmp_path: Path
) -> None:
    _forget(project)
    assert lay_data(Objects(project), _pin(project), tmp_path / "data", ()) == Dataset()
    laid = {
        path.relative_to(tmp_path / "data").as_posix(): path.read_bytes()
        for path in (tmp_path / "data").rglob("*")
        if path.is_file()
    }
    assert laid == FILES
    assert _cached(project, b"series 2").read_bytes() == b"series 2"


def test_a_plain_push_takes_the_releases_with_it(project: Path) -> None:
    _forget(project)
    shutil.rmtree(project / "releases" / "1.0.0")
    listing = Objects(project).listing(_pin(project, "releases/1.0.0"))
    assert listing is not None
    assert listing.keys() == {"report.html"}


def test_one_lost_object_is_named_and_the_rest_is_laid(project: Path, tmp_path: Path) -> None:
    _forget(project, cache=False, remote=True)
    _cached(project, b"consensus").unlink()
    found = lay_data(Objects(project), _pin(project), tmp_path / "data", ())
    assert found.missing == ("kp-1/consensus/a.dcm",)
    assert found.erased == ()
    assert (tmp_path / "data" / "kp-1" / "one.zip").read_bytes() == b"series 1"
    assert "data/kp-1/consensus/a.dcm is missing" in found.causes[0]


def test_a_subject_of_whom_nothing_is_left_counts_as_erased(project: Path, tmp_path: Path) -> None:
    _forget(project, cache=False, remote=True)
    _cached(project, b"series 2").unlink()
    found = lay_data(Objects(project), _pin(project), tmp_path / "data", ())
    assert (found.missing, found.erased) == ((), ("kp-2",))
    assert "kp-2 was erased" in found.causes[0]


def test_an_erased_subject_is_not_brought_back_from_a_copy(project: Path, tmp_path: Path) -> None:
    found = lay_data(Objects(project), _pin(project), tmp_path / "data", {"kp-1"})
    assert found == Dataset(erased=("kp-1",))
    assert not (tmp_path / "data" / "kp-1").exists()


def test_a_damaged_object_is_taken_from_the_next_place(project: Path) -> None:
    damaged = _cached(project, b"series 1")
    damaged.chmod(0o644)
    damaged.write_bytes(b"series X")
    shutil.rmtree(project / "data")
    found = Objects(project).get(damaged.parent.name + damaged.name)
    assert found == damaged
    assert damaged.read_bytes() == b"series 1"


def test_a_damaged_object_on_the_only_remote_counts_as_missing(project: Path) -> None:
    name = _cached(project, b"series 1")
    _forget(project)
    shelved = project.parent / "shelf" / name.relative_to(project / ".dvc" / "cache")
    shelved.chmod(0o644)
    shelved.write_bytes(b"series X")
    assert Objects(project).get(name.parent.name + name.name) is None
    assert not name.exists()


def test_the_work_tree_serves_where_nothing_else_does(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project.parent / "shelf")
    here = project / "data" / "kp-2" / "two.zip"
    assert Objects(project).get(md5_of(here), beside=here) == here


def test_a_remote_that_does_not_answer_is_named_and_hides_no_other(project: Path) -> None:
    with (project / ".dvc" / "config").open("a") as file:
        file.write('[remote "gone"]\n    url = http://127.0.0.1:9/none\n')
    _forget(project)
    objects = Objects(project)
    assert objects.listing(_pin(project)) is not None
    assert objects.get("0" * 32) is None
    assert objects.silent == {"gone"}


def test_the_list_of_a_folder_is_read_by_path(project: Path) -> None:
    listing = Objects(project).listing(_pin(project))
    assert listing is not None
    assert listing.keys() == FILES.keys()
