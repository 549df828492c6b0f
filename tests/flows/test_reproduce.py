"""A released micro project brought back: elsewhere, by older code, with losses, on a schedule."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers_project import ROOT, Project, git, make

from audit.errors import Refused
from audit.keys import public_keys
from audit.ledger import Ledger
from audit.record import Record
from audit.statement import event
from flows import orchestrator
from flows.ledger import open_ledger, record, signer_for
from stages.dataset.pin import listed, prepare
from stages.ladder import RUNGS
from stages.planning import CHAIN
from stages.project import Place

pytestmark = pytest.mark.timeout(900)
WHO = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Tester"), ("EMAIL", "tester@example.org"))
}
VERSION, NAME = "0.1.0", "kette-phantom"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> Project:
    """A project with one release, pushed to a remote beside it and named relative to it."""
    project = make(tmp_path_factory.mktemp("world"), cohort)
    prepare(project.folder)
    _dvc(project, "remote", "add", "--quiet", "--default", "shelf", "../shelf")
    git(project.folder, "add", ".")
    git(project.folder, "commit", "--quiet", "-m", "Name a remote")
    project.call("release", VERSION, **WHO)
    _dvc(project, "push", "--quiet")
    return project


def _dvc(project: Project, *words: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "dvc", *words]
    subprocess.run(command, cwd=project.folder, check=True, capture_output=True)


@pytest.fixture
def clone(released: Project, tmp_path: Path) -> Iterator[Project]:
    """The project in another folder and under another home: git and the remote are all it has."""
    folder = released.folder.parent / tmp_path.name
    git(released.folder.parent, "clone", "--quiet", str(released.folder), folder.name)
    yield Project(folder, tmp_path / "home", tmp_path / "no-source")
    shutil.rmtree(folder)


@pytest.fixture
def copy(released: Project, tmp_path: Path) -> Project:
    """The project and its home as they are, without any remote."""
    shutil.copytree(released.folder, tmp_path / "project", symlinks=True)
    shutil.copytree(released.home, tmp_path / "home")
    return Project(tmp_path / "project", tmp_path / "home", tmp_path / "no-source")


def bring_back(project: Project, *words: str, check: int = 0, **extra: str) -> dict[str, Any]:
    done = project.call("reproduce", VERSION, "--json", *words, check=check, **extra)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def records(project: Project, kind: str) -> list[dict[str, Any]]:
    told = project.call("audit", "show", "--event", kind, "--json").stdout
    rows: list[dict[str, Any]] = json.loads(told)["records"]
    return rows


@pytest.mark.rule("RPR-1")
@pytest.mark.rule("RPR-2")
@pytest.mark.rule("RPR-3")
def test_a_clone_under_another_home_rebuilds_the_release_to_the_bit(
    clone: Project, released: Project
) -> None:
    page = clone.folder.parent / "page.html"
    assert "by a key that nobody here knows" in clone.call("reproduce", VERSION, check=1).stderr
    key = ("--key", str(released.home / NAME / "keys" / "signer.pub"))
    found = bring_back(clone, *key, "--out", str(page), KETTE_LOADER_WORKERS="1")
    assert (found["level"], found["reached"], found["first_difference"]) == ("R1", True, None)
    assert [rung["name"] for rung in found["rungs"]] == list(RUNGS)
    assert all(rung["equal"] and rung["released"] for rung in found["rungs"])
    assert (found["lost"], found["causes"], found["missing"], found["erased"]) == ([], [], [], [])
    assert "Signed by the key" in found["signer"]
    assert page.read_bytes() == Path(found["page"]).read_bytes()
    witness = Place(clone.folder, f"{NAME}.witness", clone.home)
    ledger = Ledger(witness.ledger, origin=f"kette/{NAME}.witness")
    assert ledger.verify(public_keys(witness.keys)).ok
    told = {index: Record(index, statement) for index, statement in ledger.records()}
    assert (told[found["record"]].kind, found["ledger"]) == ("reproduced", ledger.origin)
    assert not (clone.home / NAME).exists()
    assert git(clone.folder, "status", "--porcelain") == ""
    assert git(clone.folder, "worktree", "list").count("\n") == 1
    assert list((clone.folder / ".kette" / "reproduce").iterdir()) == []


@pytest.mark.slow
@pytest.mark.rule("RBD-1")
def test_ten_commits_later_the_tags_own_code_runs_not_todays(copy: Project, tmp_path: Path) -> None:
    later = tmp_path / "later"
    for package in ("flows", "stages", "audit"):
        shutil.copytree(
            ROOT / package, later / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for stage in CHAIN:  # whatever ran of today's stages would fail here
        with (later / "stages" / stage / "stage.py").open("a") as file:
            file.write('\nraise RuntimeError("changed since the release")\n')
    for number in range(10):
        copy.write(train={"epochs": 3 + number}, package={"version": f"0.2.{number}"})
        git(copy.folder, "commit", "--quiet", "-a", "-m", f"Change {number}")
    shutil.rmtree(copy.folder / ".kette" / "store")
    today = replace(copy, code=later)
    assert "RuntimeError at stage.py" in today.call("plan", check=3).stderr
    found = bring_back(today, KETTE_LOADER_WORKERS="2")
    assert (found["level"], found["first_difference"]) == ("R1", None)
    today.call("audit", "verify")


@pytest.mark.slow
def test_the_released_bytes_alone_are_retrieved(clone: Project, released: Project) -> None:
    key = released.home / NAME / "keys" / "signer.pub"
    found = bring_back(clone, "--level", "R0", "--key", str(key))
    assert (found["level"], found["reached"], found["rungs"]) == ("R0", True, [])
    assert not (clone.folder / "releases" / VERSION).exists()


@pytest.mark.slow
def test_a_bundle_damaged_everywhere_is_named_and_one_copy_is_enough(copy: Project) -> None:
    bundle = f"{NAME}-{VERSION}.zip"
    cached = listed(copy.folder, f"releases/{VERSION}")[bundle]
    _damage(copy.folder / "releases" / VERSION / bundle)
    found = bring_back(copy, "--level", "R0")
    assert found["level"] == "R0"  # from DVC's cache
    _damage(cached)
    found = bring_back(copy, "--level", "R0", check=1)
    assert (found["level"], found["lost"]) == (None, [f"{bundle} is missing"])
    assert records(copy, "reproduced")[-1]["index"] == found["record"]


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # its other names keep the bytes
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.rule("RPD-3")
def test_one_lost_object_of_the_dataset_is_named_and_nothing_runs(copy: Project) -> None:
    path, cached = next(
        (path, cached) for path, cached in sorted(listed(copy.folder).items()) if "/" in path
    )
    cached.unlink()
    (copy.folder / "data" / path).unlink()
    found = bring_back(copy, check=1)
    assert (found["level"], found["first_difference"]) == (None, "inputs")
    assert found["missing"] == [path]
    assert found["causes"][0] == f"the object of data/{path} is missing"


@pytest.mark.slow
@pytest.mark.rule("HIS-3")
def test_without_an_erased_subject_it_says_so(
    copy: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = min(path.name for path in (copy.folder / "data").iterdir() if path.is_dir())
    monkeypatch.setenv("KETTE_HOME", str(copy.home))
    ledger, place, machine = open_ledger(copy.folder)
    told = event("subject.erased", at=datetime.now(UTC), details={"subject": subject})
    record(ledger, signer_for(place, machine, "pipeline"), told)
    found = bring_back(copy, check=1)
    assert found["level"] in (None, "R2")  # R1 was expected
    assert (found["first_difference"], found["erased"]) == ("inputs", [subject])
    assert found["causes"][0] == f"the subject {subject} was erased from the dataset"
    assert subject in Path(found["page"]).read_text("utf-8")


@pytest.mark.slow
@pytest.mark.rule("REF-4")
def test_a_withdrawn_release_comes_back_and_says_so(copy: Project, tmp_path: Path) -> None:
    copy.call("withdraw", VERSION, "--reason", "A defect in the field", **WHO)
    found = bring_back(copy, "--level", "R0")
    assert (found["level"], found["standing"]) == ("R0", "withdrawn")
    assert "A defect in the field" in Path(found["page"]).read_text("utf-8")
    git(copy.folder.parent, "clone", "--quiet", str(copy.folder), "other")
    other = Project(tmp_path / "other", tmp_path / "other-home", tmp_path / "no-source")
    key = ("--key", str(copy.home / NAME / "keys" / "signer.pub"))
    assert bring_back(other, "--level", "R0", *key, check=1)["standing"] == "withdrawn"


@pytest.mark.slow
@pytest.mark.rule("PRF-2")
def test_the_scheduled_proof_raises_a_finding_when_the_release_does_not_come_back(
    copy: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETTE_HOME", str(copy.home))
    with orchestrator.api(Place(copy.folder, NAME, copy.home)) as url:
        from flows.reproduce import reproduce

        assert reproduce(str(copy.folder)) == {"version": VERSION, "level": "R1"}
        assert records(copy, "finding.raised") == []
        for cached in listed(copy.folder, f"releases/{VERSION}").values():
            cached.unlink(missing_ok=True)  # two files of the same bytes are one object
        shutil.rmtree(copy.folder / "releases" / VERSION)
        with pytest.raises(Refused, match="was not reproduced: no level instead of R1"):
            reproduce(str(copy.folder))
        (raised,) = _events(url, "kette.finding.raised")
        wanted = {"artifacts": {"key": {"any_": ["reproduction"]}}}
        (shown,) = httpx.post(f"{url}/artifacts/latest/filter", json=wanted).json()
    assert raised["resource"] == {"prefect.resource.id": f"kette.project.{NAME}"}
    assert raised["payload"]["version"] == VERSION
    assert shown["type"] == "table"
    assert len(records(copy, "finding.raised")) == 1
    copy.call("audit", "verify")


def _events(url: str, name: str) -> list[dict[str, Any]]:
    """Prefect's events of that name; it writes them down a moment after they were sent."""
    wanted = {"filter": {"event": {"name": [name]}}}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := httpx.post(f"{url}/events/filter", json=wanted).json()["events"]:
            return list(found)
        time.sleep(0.5)
    raise AssertionError(f"no event {name} arrived")
