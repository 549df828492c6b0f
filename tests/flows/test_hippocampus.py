"""The example on real MR, released and rebuilt elsewhere to the bit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers_project import Project, git

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "hippocampus"
SUBJECTS = 60
WHO = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Tester"), ("EMAIL", "tester@example.org"))
}


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.rule("RPR-1")
def test_the_hippocampus_release_is_rebuilt_to_the_bit_elsewhere(
    shared_data: Path, tmp_path: Path
) -> None:
    incoming = sorted((shared_data / "hippocampus").glob("*.zip"))[:SUBJECTS]
    project = Project(tmp_path / "project", tmp_path / "home", tmp_path)
    shutil.copytree(EXAMPLE, project.folder)
    project.home.mkdir()
    git(project.folder, "init", "--quiet")
    git(project.folder, "add", ".")
    git(project.folder, "commit", "--quiet", "-m", "Start")
    source = {"KETTE_SOURCE": os.pathsep.join(map(str, incoming))}
    project.call("release", "0.1.0", **source, **WHO)

    git(tmp_path, "clone", "--quiet", "project", "clone")
    cache = tmp_path / "clone" / ".dvc" / "cache"
    shutil.copytree(project.folder / ".dvc" / "cache", cache)
    clone = Project(tmp_path / "clone", tmp_path / "other-home", tmp_path / "no-source")
    key = project.home / "hippocampus" / "keys" / "signer.pub"
    told = clone.call("reproduce", "0.1.0", "--key", str(key), "--json", KETTE_LOADER_WORKERS="2")
    found = json.loads(told.stdout)
    assert (found["level"], found["first_difference"]) == ("R1", None)
    assert all(rung["equal"] for rung in found["rungs"])
