from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import Fault
from stages.artifact import Manifest
from stages.stage import Gate
from stages.store import Entry, Store

NAMES = st.text("abcdefgh", min_size=1, max_size=8)
TREES = st.dictionaries(NAMES, st.binary(max_size=64), min_size=1, max_size=5)


def _folder(store: Store, files: dict[str, bytes]) -> Path:
    folder = store.scratch()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _entry(digest: str, key: str = "a" * 64) -> Entry:
    return Entry(
        stage="train", unit="variants", key=key, parts={}, digest=digest, findings={}, measured={},
        gate=Gate(), started="2026-01-01T00:00:00+00:00", finished="2026-01-01T00:00:01+00:00",
    )  # fmt: skip


@pytest.mark.rule("STO-1")
@settings(max_examples=25, deadline=None)
@given(files=TREES)
def test_get_of_put_holds_the_same_paths_and_bytes(tmp_path_factory, files):
    store = Store(tmp_path_factory.mktemp("store"))
    tree = store.get(store.put(_folder(store, files)), check=True)
    assert {path.name: path.read_bytes() for path in tree.iterdir()} == files


def test_the_same_bytes_are_kept_once(tmp_path):
    store = Store(tmp_path)
    first = store.put(_folder(store, {"a": b"1"}))
    second = store.put(_folder(store, {"a": b"1"}))
    assert first == second
    assert len(list((tmp_path / "objects").rglob("manifest.json"))) == 1


@pytest.mark.rule("STO-3")
def test_a_damaged_tree_is_an_error_not_an_input(tmp_path):
    store = Store(tmp_path)
    digest = store.put(_folder(store, {"a": b"1"}))
    path = store.get(digest) / "a"
    path.chmod(0o644)
    path.write_bytes(b"2")
    with pytest.raises(Fault, match="damaged"):
        store.get(digest, check=True)


@pytest.mark.rule("STO-1")
def test_a_tree_without_manifest_is_absent_and_replaced(tmp_path):
    store = Store(tmp_path)
    digest = store.put(_folder(store, {"a": b"1"}))
    (store.get(digest).parent / "manifest.json").unlink()
    assert not store.has(digest)
    assert store.put(_folder(store, {"a": b"1"})) == digest
    assert store.get(digest, check=True).is_dir()


@pytest.mark.rule("STO-2")
def test_an_entry_whose_tree_is_gone_is_no_entry(tmp_path):
    store = Store(tmp_path)
    entry = _entry("b" * 64)
    store.remember(entry)
    assert store.entry(entry.key) is None


def test_sweep_removes_what_was_left_half_made(tmp_path):
    store = Store(tmp_path)
    (store.scratch() / "half").write_bytes(b"x")
    store.sweep()
    assert not (tmp_path / "scratch").exists()


@pytest.mark.rule("ART-2")
def test_a_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="neither a plain file"):
        Manifest.of(tmp_path)


@pytest.mark.rule("ART-1")
def test_a_folder_has_the_same_digest_elsewhere(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place / "deep").mkdir(parents=True)
        (tmp_path / place / "deep" / "file").write_bytes(b"x")
    assert Manifest.of(tmp_path / "one").digest == Manifest.of(tmp_path / "two").digest


def test_a_full_disk_is_one_clear_line_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    store = Store(tmp_path)
    folder = _folder(store, {"a": b"1", "b": b"2"})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Fault) as caught:
        store.put(folder)
    assert caught.value.what == "The disk is full."
    assert not list((tmp_path / "objects").glob("**/manifest.json"))
    with pytest.raises(Fault, match="full"):
        store.remember(_entry("b" * 64))
    assert not list((tmp_path / "keys").iterdir())
