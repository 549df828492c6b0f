"""Publishing: `data/` equals the tree, `data.dvc` its bytes, and the bytes stand once."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from helpers_dataset import make, parameters, people, upstreams

from audit.errors import WrongUse
from stages.artifact import Manifest
from stages.dataset.publish import publish


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    made = make(folder / "out", upstreams(folder, people(6)), parameters()).tree
    for path in made.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    return made


def project(folder, *, git=False):
    folder.mkdir(parents=True)
    (folder / ".gitignore").write_text("/data\n/.kette/\n")
    if git:
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.mark.rule("PUB-1")
@pytest.mark.parametrize("git", [False, True])
def test_data_equals_the_tree_and_is_pinned(tmp_path, tree, git, capfd):
    folder = project(tmp_path / "p", git=git)
    result = publish(tree, folder)
    assert Manifest.of(folder / "data") == Manifest.of(tree)
    assert result.files == len(files(tree))
    assert result.size == sum(path.stat().st_size for path in files(tree))
    assert result.md5 in (folder / "data.dvc").read_text()
    assert capfd.readouterr() == ("", "")


@pytest.mark.rule("PUB-2")
def test_the_pin_is_the_same_in_another_folder_with_and_without_git(tmp_path, tree):
    folders = [project(tmp_path / "a"), project(tmp_path / "b" / "c", git=True)]
    for folder in folders:
        publish(tree, folder)
    one, other = ((folder / "data.dvc").read_bytes() for folder in folders)
    assert one == other


@pytest.mark.rule("PUB-2")
def test_publishing_again_touches_nothing(tmp_path, tree):
    folder = project(tmp_path / "p")
    assert publish(tree, folder).changed
    before = {path: path.lstat() for path in folder.rglob("*")}
    assert not publish(tree, folder).changed
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }


@pytest.mark.rule("PUB-2")
def test_git_sees_the_pin_and_the_settings_alone(tmp_path, tree):
    folder = project(tmp_path / "p", git=True)
    publish(tree, folder)
    status = subprocess.run(
        ["git", "-C", folder, "status", "--porcelain", "-uall"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert status.split() == [
        word
        for path in (".dvc/.gitignore", ".dvc/config", ".gitignore", "data.dvc")
        for word in ("??", path)
    ]
    committed = b"".join((folder / line).read_bytes() for line in status.split()[1::2])
    assert str(tmp_path).encode() not in committed
    assert (folder / ".gitignore").read_text() == "/data\n/.kette/\n"


@pytest.mark.rule("PUB-3")
def test_tree_data_and_cache_share_their_bytes_and_the_tree_stays(tmp_path, tree):
    before = Manifest.of(tree)
    folder = project(tmp_path / "p")
    publish(tree, folder)
    inodes = {path.stat().st_ino for path in files(tree)}
    assert {path.stat().st_ino for path in files(folder / "data")} == inodes
    cached = [path for path in files(folder / ".dvc" / "cache") if path.suffix != ".dir"]
    assert {path.stat().st_ino for path in cached} == inodes
    assert Manifest.of(tree) == before
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in files(tree))


@pytest.mark.rule("PUB-3")
def test_a_rebuilt_tree_of_the_same_bytes_takes_the_cache_over(tmp_path, tree):
    folder = project(tmp_path / "p")
    publish(tree, folder)
    pin = (folder / "data.dvc").read_bytes()
    shutil.copytree(tree, tmp_path / "rebuilt")
    publish(tmp_path / "rebuilt", folder)
    inodes = {path.stat().st_ino for path in files(tmp_path / "rebuilt")}
    assert {path.stat().st_ino for path in files(folder / "data")} == inodes
    cached = [path for path in files(folder / ".dvc" / "cache") if path.suffix != ".dir"]
    assert {path.stat().st_ino for path in cached} == inodes
    assert (folder / "data.dvc").read_bytes() == pin


@pytest.mark.rule("PUB-1")
def test_a_tampered_data_folder_is_restored(tmp_path, tree):
    folder = project(tmp_path / "p")
    publish(tree, folder)
    pin = (folder / "data.dvc").read_bytes()
    (folder / "data" / "labels.parquet").unlink()
    (folder / "data" / "labels.parquet").write_bytes(b"tampered")
    (folder / "data" / "more").write_bytes(b"surplus")
    shutil.rmtree(folder / "data" / "s-0000")
    assert publish(tree, folder).changed
    assert Manifest.of(folder / "data") == Manifest.of(tree)
    assert (folder / "data.dvc").read_bytes() == pin


@pytest.mark.rule("PUB-3")
def test_a_damaged_object_of_the_cache_is_replaced(tmp_path, tree):
    folder = project(tmp_path / "p")
    publish(tree, folder)
    cached = [path for path in files(folder / ".dvc" / "cache") if path.suffix != ".dir"]
    for path in cached:
        path.unlink()
        path.write_bytes(b"damaged")
        path.chmod(0o444)
    publish(tree, folder)
    assert Manifest.of(folder / "data") == Manifest.of(tree)
    assert all(path.read_bytes() != b"damaged" for path in cached)


@pytest.mark.rule("PUB-4")
@pytest.mark.parametrize("left", ["data.dvc", "data", ".dvc/cache", ".dvc", ".kette"])
def test_what_a_kill_left_half_done_is_finished(tmp_path, tree, left):
    folder = project(tmp_path / "p")
    publish(tree, folder)
    pin = (folder / "data.dvc").read_bytes()
    gone = folder / left
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    (folder / ".kette" / "publish" / "new").mkdir(parents=True)
    (folder / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / ".dvc" / "tmp" / "rwlock").write_text('{"write"')
    publish(tree, folder)
    assert (folder / "data.dvc").read_bytes() == pin
    assert Manifest.of(folder / "data") == Manifest.of(tree)


@pytest.mark.rule("PUB-5")
def test_settings_and_databases_stay_in_the_project(tmp_path, tree, monkeypatch):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config").write_text(f'[cache]\n    dir = "{foreign}/cache"\n')
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(foreign))
    folder = project(tmp_path / "p")
    publish(tree, folder)
    assert [path.name for path in foreign.iterdir()] == ["config"]
    assert (folder / ".kette" / "dvc-site").stat().st_mode & 0o777 == 0o700
    assert os.environ["DVC_SITE_CACHE_DIR"] == str(foreign)


@pytest.mark.rule("PUB-5")
def test_a_project_inside_a_larger_repository_leaves_that_one_alone(tmp_path, tree):
    outer = project(tmp_path / "outer", git=True)
    folder = project(outer / "inner")
    publish(tree, folder)
    assert (outer / ".gitignore").read_text() == "/data\n/.kette/\n"
    assert not (outer / ".dvc").exists()


@pytest.mark.rule("PUB-1")
def test_files_that_no_run_wrote_are_not_replaced(tmp_path, tree):
    folder = project(tmp_path / "p")
    (folder / "data").mkdir()
    (folder / "data" / "study.dcm").write_bytes(b"mine")
    with pytest.raises(WrongUse, match="did not write"):
        publish(tree, folder)
    assert (folder / "data" / "study.dcm").read_bytes() == b"mine"


@pytest.mark.rule("PUB-1")
def test_data_that_git_tracks_is_refused(tmp_path, tree):
    folder = project(tmp_path / "p", git=True)
    publish(tree, folder)
    subprocess.run(["git", "-C", folder, "add", "-f", "data/labels.parquet"], check=True)
    (folder / "data" / "more").write_bytes(b"surplus")
    with pytest.raises(WrongUse, match="Git tracks"):
        publish(tree, folder)


@pytest.mark.rule("PUB-2")
def test_a_pattern_that_hides_files_from_the_pin_is_refused(tmp_path, tree):
    folder = project(tmp_path / "p")
    (folder / ".dvcignore").write_text("*.zip\n")
    with pytest.raises(WrongUse, match="leave out"):
        publish(tree, folder)


@pytest.mark.rule("PUB-5")
def test_a_copied_project_keeps_its_database_in_itself(tmp_path, tree):
    publish(tree, project(tmp_path / "p"))
    shutil.copytree(tmp_path / "p", tmp_path / "copy")
    publish(tree, tmp_path / "copy")
    assert str(tmp_path / "copy") in (tmp_path / "copy" / ".dvc" / "config.local").read_text()
