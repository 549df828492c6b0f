"""A micro project: few phantoms, a tiny network, every stage real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Completed = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[2]
MICRO: dict[str, Any] = {
    "numerics": {"threads": 1},
    "volume": {"patch": [16, 32, 32], "overlap": 0.0},
    "network": {"arguments": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}},
}


def micro_parameters(**changes: Any) -> dict[str, Any]:
    """The phantom project's parameters, made small; `changes` are merged in by section."""
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    micro = yaml.safe_load((Path(__file__).parent / "micro.yaml").read_text("utf-8"))
    for source in (MICRO, micro, changes):
        for section, values in source.items():
            parameters.setdefault(section, {}).update(values)
    return parameters


@dataclass
class Project:
    """A project in a temporary folder, with a home of its own."""

    folder: Path
    home: Path
    source: Path
    code: Path = ROOT
    output: list[str] = field(default_factory=list)
    """All that its commands printed."""

    def write(self, **changes: Any) -> None:
        text = yaml.safe_dump(micro_parameters(**changes), sort_keys=False)
        (self.folder / "params.yaml").write_text(text, "utf-8")

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KETTE_HOME": str(self.home),
            "KETTE_SOURCE": str(self.source),
            "KETTE_WORKERS": "2",
            "PYTHONPATH": str(self.code),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "flows.cli", *words]

    def call(
        self, *words: str, check: int | None = 0, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `kette` with these words in the project's folder."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment() | extra,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.output += [done.stdout, done.stderr]
        assert done.returncode == check, done.stderr + done.stdout
        return done

    def run(self, *words: str, **extra: str) -> dict[str, Any]:
        """`kette run --json …`; gives the JSON."""
        found: dict[str, Any] = json.loads(self.call("run", "--json", *words, **extra).stdout)
        return found

    def status(self, *words: str) -> dict[str, str]:
        """Stage → status of one more run."""
        return {row["name"]: row["status"] for row in self.run(*words)["stages"]}


def make(folder: Path, source: Path, **changes: Any) -> Project:
    """A committed micro project in `folder/project`, its home beside it."""
    project = Project(folder / "project", folder / "home", source)
    project.folder.mkdir(parents=True)
    project.home.mkdir()
    project.write(**changes)
    for name in ("constraints.txt", ".gitignore"):
        shutil.copyfile(ROOT / name, project.folder / name)
    git(project.folder, "init", "--quiet")
    git(project.folder, "add", ".")
    git(project.folder, "commit", "--quiet", "-m", "Start")
    return project


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout
