"""A micro project from incoming studies to a signed release, by the command line alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gto.api import show
from helpers_project import Project, git, make

from flows import tag
from flows.manifest import load
from stages.artifact import Manifest, digest_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WHO = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Tester"), ("EMAIL", "tester@example.org"))
}


@pytest.fixture(scope="module")
def released(tmp_path_factory, cohort) -> tuple[Project, dict[str, str]]:
    project = make(tmp_path_factory.mktemp("released"), cohort)
    done = project.call("release", "0.1.0", "--json", **WHO)
    return project, json.loads(done.stdout)


def test_the_release_is_what_its_manifest_names(released):
    project, found = released
    raw = (project.folder / found["manifest"]).read_bytes()
    manifest = load(raw)
    assert manifest.digest == found["manifest_sha256"]
    assert git(project.folder, "show", f"{found['tag']}:{found['manifest']}").encode() == raw
    files = Manifest.of(project.folder / found["release"]).files
    assert {file.path: file.sha256 for file in files} == {
        path: file.sha256 for path, file in manifest.files.items()
    }
    assert digest_file(project.folder / found["bundle"]) == found["bundle_sha256"]
    assert list(manifest.stages) == list(manifest.gates)
    assert manifest.source_commit == git(project.folder, "rev-parse", "HEAD~1").strip()
    assert git(project.folder, "status", "--porcelain") == ""


def test_everything_that_was_released_verifies(released):
    project, found = released
    keys = project.home / "kette-phantom" / "keys"
    bundle = str(project.folder / found["bundle"])
    project.call("verify", bundle, "--key", str(keys / "signer.pub"))
    project.call("audit", "verify")
    records = json.loads(project.call("audit", "show", "--json").stdout)["records"]
    made = [row["index"] for row in records if row["event"] == "released"]
    assert made == [found["record"]]


@pytest.mark.peer("ssh-keygen")
def test_a_clone_verifies_the_tag_and_a_registry_reads_it(released, tmp_path):
    project, found = released
    git(tmp_path, "clone", "--quiet", str(project.folder), "clone")
    allowed = project.home / "kette-phantom" / "keys" / "allowed_signers"
    done = subprocess.run(
        ["git", "-c", f"gpg.ssh.allowedSignersFile={allowed}", "tag", "-v", found["tag"]],
        cwd=tmp_path / "clone", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    note = tag.checkpoint_in(done.stdout)
    assert note.startswith(b"kette/kette-phantom\n")
    assert [row["version"] for row in show(str(tmp_path / "clone"), "kette-phantom")] == ["v0.1.0"]


def test_dvc_restores_the_release_from_its_cache(released, tmp_path):
    project, found = released
    folder = project.folder / found["release"]
    before = Manifest.of(folder)
    folder.rename(tmp_path / "away")
    dvc = [sys.executable, "-m", "dvc", "checkout", "--quiet", "releases/0.1.0.dvc"]
    subprocess.run(dvc, cwd=project.folder, check=True)
    assert Manifest.of(folder) == before
    assert {"kette.zip", "report.html", "evidence"} <= {path.name for path in folder.iterdir()}


def test_the_same_version_is_refused_and_the_next_one_is_another_release(released):
    project, found = released
    project.call("release", "0.1.0", check=2, **WHO)
    before = Manifest.of(project.folder / "releases" / "0.1.0")
    project.write(package={"version": "0.2.0"})
    project.call("release", "0.2.0", check=2, **WHO)  # not committed
    git(project.folder, "commit", "--quiet", "-a", "-m", "Next")
    project.call("release", "0.2.0", **WHO)
    assert Manifest.of(project.folder / "releases" / "0.1.0") == before
    assert git(project.folder, "tag").split() == ["kette-phantom@v0.1.0", "kette-phantom@v0.2.0"]
    project.call("deprecate", "0.1.0", "--reason", "0.2.0 is better", **WHO)
    project.call("audit", "verify")
    assert found["tag"] in git(project.folder, "tag")
