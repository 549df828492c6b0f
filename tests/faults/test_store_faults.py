"""A disk that fails and a process that is killed, at every call by which the store is written."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_strace import FAULTS, Say, recorded, run

from stages.artifact import Manifest
from stages.stage import Gate
from stages.store import Entry, Store, publish_folder, write_whole

pytestmark = pytest.mark.peer("strace")
SAMPLE = 4
"""Points of each scene that `make test` has; all of them are in the broad suite."""
KEY = f"{5:064x}"
OLD, NEW = {"a.txt": b"old", "b/c.txt": b"c"}, {"a.txt": b"new", "b/d.txt": b"dd"}


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def entry(digest: str) -> Entry:
    return Entry(
        stage="train", unit="plain", key=KEY, parts={}, digest=digest, findings={}, measured={},
        gate=Gate(), started="2026-01-01T00:00:00+00:00", finished="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def prepared(folder: Path) -> None:
    """A store that holds a tree and its entry, another finished folder, a published one."""
    store = Store(folder / "store")
    store.remember(entry(store.put(lay(store.scratch() / "made", OLD))))
    lay(folder / "store" / "scratch" / "next", NEW)
    lay(folder / "same", OLD)
    publish_folder(folder / "out" / "shown", lambda new: lay(new, OLD) and None)
    write_whole(folder / "out" / "page", b"old")


def put(folder: Path, say: Say) -> None:
    say(Store(folder / "store").put(folder / "store" / "scratch" / "next"))


def put_again(folder: Path, say: Say) -> None:
    say(Store(folder / "store").put(folder / "same"))


def remember(folder: Path, say: Say) -> None:
    store = Store(folder / "store")
    digest = store.put(folder / "store" / "scratch" / "next")
    store.remember(entry(digest))
    say("remembered")


def publish(folder: Path, say: Say) -> None:
    publish_folder(folder / "out" / "shown", lambda new: lay(new, NEW) and None)
    say("published")


def write(folder: Path, say: Say) -> None:
    write_whole(folder / "out" / "page", b"new")
    say("written")


WORKS = (put, put_again, remember, publish, write)


def holds(folder: Path, said: list[str]) -> None:
    """What was told is there, what is there is whole, and the same work succeeds."""
    store = Store(folder / "store")
    digests = {Manifest.of(lay(folder / "expected" / str(i), f)).digest: f
               for i, f in enumerate((OLD, NEW))}  # fmt: skip
    first, second = digests
    # 1. A tree is whole or absent; an entry is the old or the new one, and has its tree.
    assert files_of(store.get(first, check=True)) == OLD
    assert not store.has(second) or files_of(store.get(second, check=True)) == NEW
    found = store.entry(KEY)
    assert found is not None
    assert found == entry(found.digest)
    assert [each.key for each in store.entries()] == [KEY]
    assert (folder / "out" / "page").read_bytes() in (b"old", b"new")
    shown = folder / "out" / "shown"
    assert not shown.exists() or files_of(shown) in (OLD, NEW)
    # 2. What was told is there.
    if first in said or second in said:
        assert store.has(said[0])
    assert "remembered" not in said or found.digest == second
    assert "published" not in said or files_of(shown) == NEW
    assert "written" not in said or (folder / "out" / "page").read_bytes() == b"new"
    # 3. The next run goes on, and leaves nothing behind.
    store.sweep()
    store.remember(entry(store.put(lay(store.scratch() / "made", NEW))))
    publish_folder(shown, lambda new: lay(new, NEW) and None)
    write_whole(folder / "out" / "page", b"new")
    assert files_of(store.get(second, check=True)) == files_of(shown) == NEW
    assert store.entry(KEY) == entry(second)
    assert {path.name for path in (folder / "store" / "keys").iterdir()} == {f"{KEY}.json"}
    assert not [path for path in (folder / "out").iterdir() if path.is_dir() and path != shown]


def sweep(tmp_path: Path, work: Callable[[Path, Say], None], points: int | None) -> None:
    before, folder = tmp_path / "before", tmp_path / "now"
    prepared(before)
    shutil.copytree(before, folder)
    calls = recorded(lambda say: work(folder, say), folder)
    chosen = [(call, fault) for call in calls for fault in FAULTS]
    assert len(chosen) > SAMPLE
    if points is not None:
        chosen = random.Random(len(chosen)).sample(chosen, points)
    for call, fault in chosen:
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        ended = run(lambda say: work(folder, say), call.inject(fault))
        try:
            assert ended.met
            holds(folder, ended.said)
        except Exception as error:
            raise AssertionError(f"{fault} at {call}: {error!r}\n{ended}") from error


@pytest.mark.parametrize("work", WORKS)
def test_a_fault_while_storing_leaves_trees_whole(tmp_path, work):
    sweep(tmp_path, work, SAMPLE)


@pytest.mark.slow
@pytest.mark.rule("STO-1")
@pytest.mark.rule("STO-2")
@pytest.mark.parametrize("work", WORKS)
def test_a_fault_at_any_call_of_storing_leaves_trees_whole(tmp_path, work):
    sweep(tmp_path, work, None)
