"""`kette init`: a new project is whole, valid, and kept apart from what was there."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from audit.errors import WrongUse
from flows.parameters import load
from flows.template import LOCK, create
from stages.ingest.vault import open_vault
from stages.project import Machine


def keys(value, prefix=""):
    """Every key below a mapping that has a fixed set of keys, dotted."""
    if not isinstance(value, dict) or prefix.endswith(("arguments", "readers", "changelog")):
        return {prefix}
    return {prefix} | {k for name, inner in value.items() for k in keys(inner, f"{prefix}.{name}")}


def test_a_new_project_has_everything_a_run_needs(tmp_path):
    made = create(tmp_path / "p", "lungs")
    assert made == [
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvc/config.local",
        ".gitignore",
        "constraints.txt",
        "params.yaml",
    ]
    assert (tmp_path / "p" / "constraints.txt").read_bytes() == LOCK.read_bytes()
    assert (tmp_path / "p" / ".git").is_dir()


def test_a_new_project_has_a_vault_of_its_own(tmp_path):
    create(tmp_path / "p", "lungs")
    with open_vault(Machine.here().home / "lungs" / "vault") as vault:
        assert not vault.changed
    with pytest.raises(WrongUse, match="already"):
        create(tmp_path / "q", "lungs")
    assert not (tmp_path / "q").exists()


def test_the_template_is_valid_and_shows_every_key(tmp_path):
    create(tmp_path, "lungs")
    parameters = load(tmp_path / "params.yaml")
    assert parameters.project.name == "lungs"
    resolved = yaml.safe_load(parameters.resolved())
    written = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert keys(written) == keys(resolved)


def test_nothing_of_this_machine_would_be_committed(tmp_path):
    create(tmp_path / "p", "lungs")
    status = subprocess.run(
        ["git", "-C", tmp_path / "p", "status", "--porcelain", "-uall"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()[1::2]
    assert status == [
        ".dvc/.gitignore",
        ".dvc/config",
        ".gitignore",
        "constraints.txt",
        "params.yaml",
    ]
    assert not any(str(tmp_path).encode() in (tmp_path / "p" / n).read_bytes() for n in status)


def test_a_project_is_not_made_twice(tmp_path):
    create(tmp_path, "lungs")
    before = (tmp_path / "params.yaml").read_bytes()
    with pytest.raises(WrongUse, match="project already"):
        create(tmp_path, "other")
    assert (tmp_path / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("name", ["", "Lungs", "-lungs", "a/b", "a" * 64])
def test_a_name_that_is_none_is_refused_before_anything_is_made(tmp_path, name):
    with pytest.raises(WrongUse, match="name"):
        create(tmp_path / "p", name)
    assert not (tmp_path / "p").exists()


def test_without_a_lock_nothing_is_made(tmp_path):
    with pytest.raises(WrongUse, match="lock"):
        create(tmp_path / "p", "lungs", lock=tmp_path / "none")
    assert not (tmp_path / "p").exists()


def test_an_existing_repository_and_its_files_are_kept(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.log\n/data\n")
    create(folder, "lungs")
    assert (folder / ".gitignore").read_text() == (
        "*.log\n/data\n/.kette/\n"
        "/releases/?*/\n!/releases/environments/\n/releases/environments/?*/\n"
    )
    assert not (folder / ".git").exists()
