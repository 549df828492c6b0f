"""A micro release, and twins of it in which one thing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers_project import ROOT, Project, git, make

from stages.ladder import Comparison, Ladder, compare

CLIMBER = Path(__file__).parent / "climber.py"
FAST: dict[str, Any] = {
    "numerics": {"threads": 1, "instruction_set": "default"},
    "train": {
        "variants": ["scratch"], "epochs": 1, "validate_every": 1, "min_score": 0.0,
        "pretraining": {"epochs": 1},
    },
    "optimize": {
        "targets": ["onnxruntime-cpu"], "timed_runs": 3, "series": 1, "min_dice_to_reference": 0.0,
    },
}  # fmt: skip
"""Laid over the micro project's parameters: one variant, one epoch, one target."""


@dataclass
class Twin:
    """A project with a home of its own."""

    project: Project
    variables: dict[str, str] = field(default_factory=dict)
    """Over those of the process."""

    @property
    def folder(self) -> Path:
        return self.project.folder

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def candidate(self) -> Path:
        return self.folder / "releases" / "candidate"

    def climb(self, *words: str, check: int = 0) -> str:
        """Run `climber.py` in the project; gives what it told on stderr."""
        done = subprocess.run(
            [sys.executable, str(CLIMBER), *words], cwd=self.folder,
            env=self.project.environment() | self.variables,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == check, done.stderr
        return done.stderr

    def ladder(self) -> Ladder:
        return Ladder.model_validate_json((self.candidate / "ladder.json").read_bytes())

    def parameters(self, **changes: dict[str, Any]) -> None:
        """Write `params.yaml` with these keys changed."""
        sections = {name: dict(values) for name, values in FAST.items()}
        for section, values in changes.items():
            sections.setdefault(section, {}).update(values)
        self.project.write(**sections)

    def code(self, folder: Path, file: str, old: str, new: str) -> None:
        """Run code of its own, in which one text is another."""
        for package in ("flows", "stages", "audit"):
            shutil.copytree(
                ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copyfile(ROOT / "constraints.txt", folder / "constraints.txt")
        path = folder / "stages" / file
        text = path.read_text("utf-8")
        assert text.count(old) == 1, "the planted place is gone: choose another"
        path.write_text(text.replace(old, new), "utf-8")
        self.project.code = folder


@dataclass
class Released:
    """A micro release: the project that made it, and its folder apart."""

    project: Project
    folder: Path

    def ladder(self) -> Ladder:
        return Ladder.model_validate_json((self.folder / "ladder.json").read_bytes())

    def compare(self, twin: Twin) -> Comparison:
        return compare(self.ladder(), twin.ladder(), {"dice": 0.05, "hd95_mm": 5.0, "nsd": 0.05})

    def twin(self, folder: Path) -> Twin:
        """The project again, with its home and its store: what does not change is given back."""
        made, home = self.project.folder, self.project.home
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(home, folder / "home")
        shutil.copytree(
            made, folder / "project", copy_function=_copied,
            ignore=shutil.ignore_patterns("prefect", "run.lock", "releases"),
        )  # fmt: skip
        return Twin(Project(folder / "project", folder / "home", self.project.source))

    def clone(self, folder: Path) -> Twin:
        """The project's commit in another clone and home, with `data/` and nothing else."""
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "clone", "--quiet", str(self.project.folder), str(folder / "project"))
        shutil.copytree(self.project.folder / "data", folder / "project" / "data")
        (folder / "home").mkdir()
        return Twin(Project(folder / "project", folder / "home", folder / "no-source"))


def _copied(source: str, target: str) -> None:
    """Copy, or give a second name to what is read-only in the store."""
    if "/store/objects/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def release(folder: Path, cohort: Path) -> Released:
    """Run a micro project, commit it, and lay its candidate apart."""
    project = make(folder, cohort, **FAST)
    twin = Twin(project)
    twin.climb("run")
    git(project.folder, "add", "--all")
    git(project.folder, "commit", "--quiet", "-m", "Run")
    shutil.copytree(twin.candidate, folder / "release")
    return Released(project, folder / "release")
