"""A disk that fails and a process that is killed while a release is made: it is finished by the
same command.

Git, DVC, ledger and keys are real. Faults are at every call of this program that changes a file,
and at calls of git and of DVC that a fixed seed chooses.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers_git import AND_CALLER, FaultyGit, GitCall
from helpers_release import SHA256, VERSION, World, copy_of, world
from helpers_strace import FAULTS, Call, Ended, Say, ends_of_runs, recorded, run

from audit.errors import KetteError
from audit.evidence import verify
from audit.keys import public_keys
from flows.ledger import open_ledger
from flows.manifest import load
from stages.artifact import Manifest
from stages.dataset.pin import listed
from stages.store import DISK_ERRORS, disk_fault

pytestmark = [
    pytest.mark.peer("strace"),
    pytest.mark.rule("REL-1"),
    pytest.mark.rule("GIT-3"),
    pytest.mark.timeout(3600),
]
OF_DVC = re.compile(r"/\.dvc/|/dvc-site|\.dvc\b|/\.gitignore")
OWN = re.compile(r"/\.dvc/(config|\.gitignore)")
PARTS = 4
"""All points are too many for one test."""
TAG = f"kette-phantom@v{VERSION}"


class Stage:
    """Where releases are made again and again, always at the same path."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "stage"
        self.git = FaultyGit(folder / "bin")
        self.template = world(folder / "template", monkeypatch)
        undisturbed = self.fresh(monkeypatch)
        undisturbed.release()
        self.expected = facts(undisturbed)

    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> World:
        if self.folder.exists():
            shutil.rmtree(self.folder)
        return copy_of(self.template, self.folder, monkeypatch)


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Stage(tmp_path_factory.mktemp("release"), monkeypatch)


def releasing(world: World) -> Callable[[Say], None]:
    """The work, told as the command line tells it."""

    def work(say: Say) -> None:
        try:
            say(world.release().tag)
        except OSError as error:
            raise (disk_fault(error) if error.errno in DISK_ERRORS else error) from error

    return work


def facts(world: World) -> dict[str, Any]:
    """What a release says, but its times."""
    raw = (world.project.folder / "releases" / f"{VERSION}.yaml").read_bytes()
    return load(raw).model_dump(mode="json", exclude={"released_at", "retention"})


def is_finished(world: World, expected: dict[str, Any]) -> None:
    """One tag, one record, the undisturbed release's manifest; git, DVC and ledger whole."""
    project = world.project.folder
    manifest = (project / "releases" / f"{VERSION}.yaml").read_bytes()
    assert facts(world) == expected
    assert world.git("status", "--porcelain") == ""
    assert world.git("tag").split() == [TAG]
    assert world.git("show", f"{TAG}:releases/{VERSION}.yaml").encode() == manifest
    assert world.git("rev-list", "--count", "HEAD").strip() == "2"
    assert world.git("fsck", "--strict", "--no-dangling") == ""
    assert not list((project / ".git").rglob("*.lock"))
    assert world.kinds().count("released") == 1
    ledger, place, _ = open_ledger(project)
    keys = public_keys(place.keys)
    found = ledger.verify(keys)
    assert (found.ok, found.covered) == (True, found.records), found
    folder = project / "releases" / VERSION
    assert verify(folder / "evidence", keys, bundle_sha256=SHA256).ok
    assert {f.path: f.sha256 for f in Manifest.of(folder).files} == {
        path: file["sha256"] for path, file in expected["files"].items()
    }
    for name in ("data", f"releases/{VERSION}"):
        for path, item in listed(project, name).items():
            assert item.read_bytes() == (project / name / path).read_bytes()
            assert hashlib.md5(item.read_bytes()).hexdigest() == item.parent.name + item.name  # noqa: S324 - DVC's own
    assert {path.name for path in (project / "releases").iterdir()} == {
        "candidate", VERSION, f"{VERSION}.dvc", f"{VERSION}.yaml",
    }  # fmt: skip


@contextmanager
def told(fault: str, at: object) -> Iterator[None]:
    """Say where, if anything fails."""
    try:
        yield
    except (AssertionError, KetteError, OSError) as error:
        raise AssertionError(f"{fault} at {at}: {type(error).__name__}: {error}") from error


def disturb(stage: Stage, call: Call, fault: str) -> None:
    """A fault in this program or in DVC, then the same command."""
    with pytest.MonkeyPatch.context() as monkeypatch, told(fault, call):
        world = stage.fresh(monkeypatch)
        ended = run(releasing(world), call.inject(fault))
        assert ended.met, ended
        go_on(world, ended, stage.expected)


def disturb_git(stage: Stage, at: GitCall, fault: str) -> None:
    """A fault in one run of git, then the same command."""
    with pytest.MonkeyPatch.context() as monkeypatch, told(fault, at):
        world = stage.fresh(monkeypatch)
        work = releasing(world)

        def failing(say: Say) -> None:
            stage.git.fail(at, fault)
            work(say)

        ended = run(failing, None, traced=False)
        assert stage.git.met(at), ended
        go_on(world, ended, stage.expected)


def go_on(world: World, ended: Ended, expected: dict[str, Any]) -> None:
    """A release that was told is there; any other is finished by the same command."""
    if not ended.said:
        world.release()
    is_finished(world, expected)


@pytest.fixture(scope="module")
def points(stage) -> tuple[list[Call], list[Call], list[GitCall]]:
    """Calls of this program, of DVC, and of git."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = stage.fresh(monkeypatch)
        calls = ends_of_runs(recorded(releasing(world), stage.folder))
        world = stage.fresh(monkeypatch)
        work = releasing(world)

        def traced(say: Say) -> None:
            stage.git.use("all")
            work(say)

        assert run(traced, None, traced=False).met
    of_dvc = [call for call in calls if OF_DVC.search(call.file) and not OWN.search(call.file)]
    return [call for call in calls if call not in of_dvc], of_dvc, stage.git.calls(stage.folder)


def chosen(points: list[Any], faults: tuple[str, ...], count: int) -> list[tuple[Any, str]]:
    """Some points and faults, by a fixed seed."""
    return random.Random(7).sample([(point, fault) for point in points for fault in faults], count)


def test_a_fault_while_releasing_is_made_good_by_the_same_command(stage, points):
    own, of_dvc, of_git = points
    for call, fault in chosen(own, FAULTS, 2) + chosen(of_dvc, FAULTS, 1):
        disturb(stage, call, fault)
    for at, fault in chosen(of_git, (*FAULTS, AND_CALLER), 2):
        disturb_git(stage, at, fault)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_call_while_releasing_is_made_good(stage, points, fault, part):
    assert len(points[0]) > 100
    for call in points[0][part::PARTS]:
        disturb(stage, call, fault)


@pytest.mark.slow
def test_faults_in_dvc_are_made_good(stage, points):
    for call, fault in chosen(points[1], FAULTS, 60):
        disturb(stage, call, fault)


@pytest.mark.slow
def test_faults_in_git_are_made_good(stage, points):
    for at, fault in chosen(points[2], (*FAULTS, AND_CALLER), 80):
        disturb_git(stage, at, fault)
