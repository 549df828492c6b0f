"""A project that is ready to be released, without a chain that took its time.

Git, DVC, ledger and keys are real; the candidate is a folder of a few files whose making the ledger
records as the chain would.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers_project import Project, git, make

from audit.reading import entries
from audit.statement import statement
from flows.candidate import Candidate
from flows.ledger import open_ledger, signer_for
from flows.manifest import StageMade
from flows.publish import Released, publish
from flows.releasing import Releasing, open_releasing
from stages.dataset.pin import add, prepare
from stages.key import code_files
from stages.project import run_lock
from stages.stage import Check, Gate, Verdict

VERSION = "0.1.0"
BUNDLE = f"kette-phantom-{VERSION}.zip"
BYTES = b"the bundle's bytes"
SHA256 = hashlib.sha256(BYTES).hexdigest()
FINDING = Check(
    rule="ASS-5", figure="4 subjects", limit="10", verdict=Verdict.FINDINGS, remedy="Add some."
)


class Killed(BaseException):
    """Stands for the end of the process between two steps."""


@dataclass
class World:
    """A project, its home and its candidate."""

    project: Project
    candidate: Candidate
    chains: int = 0
    """How often the chain was run."""

    def open(self, version: str = VERSION) -> Releasing:
        return open_releasing(self.project.folder, version)

    @contextmanager
    def candidates(self) -> Iterator[Candidate]:
        self.chains += 1
        with run_lock(self.open().place):
            yield self.candidate

    def release(
        self, version: str = VERSION, *, kill_at: str | None = None, archive: bool = False
    ) -> Released:
        def say(text: str, fraction: float) -> None:
            del fraction
            if kill_at is not None and text.endswith(f": {kill_at}"):
                raise Killed

        return publish(self.open(version), self.candidates, archive=archive, say=say)

    def kinds(self) -> list[str | None]:
        """Kind of each record, in order."""
        ledger, _, _ = open_ledger(self.project.folder)
        return [entry.record.kind for entry in entries(ledger)]

    def git(self, *words: str) -> str:
        return git(self.project.folder, *words)


def world(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> World:
    """Make one; `changes` go into the parameters by section."""
    project = make(folder, folder / "no-source", **changes)
    live_in(project, monkeypatch)
    (project.folder / "data").mkdir()
    (project.folder / "data" / "splits.parquet").write_bytes(b"rows")
    prepare(project.folder)
    add(project.folder)
    return World(project, _candidate(project.folder))


def copy_of(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same world in another folder."""
    shutil.copytree(world.project.folder.parent, folder, dirs_exist_ok=True)
    project = Project(folder / "project", folder / "home", folder / "no-source")
    live_in(project, monkeypatch)
    candidate = replace(world.candidate, folder=project.folder / "releases" / "candidate")
    return World(project, candidate)


def live_in(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process have the project's home, and git a committer."""
    monkeypatch.setenv("KETTE_HOME", str(project.home))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")


def sha(number: int) -> str:
    return f"{number:064x}"


def _candidate(project: Path) -> Candidate:
    folder = project / "releases" / "candidate"
    (folder / "evidence").mkdir(parents=True)
    for name, data in {
        BUNDLE: BYTES,
        "report.html": b"<html></html>",
        "measurements.json": b"{}",
        "cited/ingest.json": b"{}",
        "evidence/old": b"made before the signatures",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    ledger, place, machine = open_ledger(project)
    made = ledger.append(_records(), signer_for(place, machine, "pipeline"))
    return Candidate(
        folder=folder,
        bundle=BUNDLE,
        sha256=SHA256,
        stages={"package": StageMade(key=sha(21), artifact=sha(22))},
        gates={"assess": Gate(checks=(FINDING,)), "package": Gate()},
        lock=sha(9),
        cohort=sha(7),
        indexes=tuple(made),
        code=code_files("package"),
    )


def _records() -> list[dict[str, object]]:
    """What `package` records: its unit, then its merge with the gate."""
    gate = Gate().model_dump(mode="json")
    return [
        _record([("package/bundle", sha(3)), (f"package/bundle/{BUNDLE}", SHA256)], 20, "bundle"),
        _record([("package", sha(4))], 21, "", inputs={"package/bundle": sha(3)}, gate=gate),
    ]


def _record(
    subjects: list[tuple[str, str]],
    key: int,
    unit: str,
    *,
    inputs: dict[str, str] | None = None,
    gate: dict[str, object] | None = None,
) -> dict[str, object]:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    return statement(
        subjects=subjects, stage="package", unit=unit, key=sha(key), parameters={},
        inputs=inputs or {}, commit=None, lock=sha(9), environment={}, findings={}, measured={},
        gate=gate, status="ran", started=now, finished=now,
    )  # fmt: skip
