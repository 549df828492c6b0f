"""Tiles hold the tree's hashes where C2SP says; writers and killed writers leave them right."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_audit import ORIGIN, files_of, keys_of, look, new_ledger, new_signer
from hypothesis import given
from hypothesis import strategies as st

from audit import durable
from audit import ledger as ledger_module
from audit.errors import Fault, Refused
from audit.layout import contents
from audit.ledger import Ledger
from audit.merkle import Tree, leaf_hash
from audit.tiles import Growth, Tile, Tiles, required, tile_of, tiles_at

SIGNER = new_signer()
KEYS = keys_of(SIGNER)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),  # the example of the specification
        (Tile(2, 67, 255), "tile/2/067.p/255"),
        (Tile(0, 273, 1), "tile/0/273.p/1"),
    ],
)
def test_a_tile_lies_where_the_specification_says(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert tile_of(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/00/000",
        "tile/x/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p",
        "tile/0/٠٠٠",
        "tile/entries/000",
        "tiles/0/000",
        "tile/0/000\n",
    ],
)
def test_no_other_name_is_a_tile(path: str) -> None:
    assert tile_of(path) is None


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specifications_example() -> None:
    # tlog-tiles: 273 full tiles and one of width 112 at level 0, one full and one of width 17 at
    # level 1, one of width 1 at level 2.
    assert list(tiles_at(70_000)) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert len(list(required(70_000))) == 273 + 1 + 1 + 1 + 1
    assert list(required(0)) == []
    assert list(required(256)) == [Tile(0, 0), Tile(1, 0, 1)]


@given(st.integers(0, 1500), st.integers(0, 1500))
def test_a_tree_grows_from_its_tiles_as_from_its_leaves(
    tmp_path_factory: pytest.TempPathFactory, one: int, two: int
) -> None:
    folder = tmp_path_factory.mktemp("tiles")
    old, new = sorted((one, two))
    leaves = [leaf_hash(b"%d" % number) for number in range(new)]
    whole = Tree()
    growth = Growth()
    for size in (old, new):
        if growth.tree.size:
            growth = Tiles(folder, old).growth()
        for leaf in leaves[growth.tree.size : size]:
            whole.append(leaf)
            for tile, data in growth.append(leaf):
                _put(folder / tile.path, data)
        for tile, data in growth.partial():
            assert len(data) == 32 * tile.width
            _put(folder / tile.path, data)
        assert growth.tree.root() == Tiles(folder, size).tree().root() == whole.root()
    assert {*required(old), *required(new)} == set(contents(folder).tiles)
    shutil.rmtree(folder)


@pytest.mark.rule("LED-7")
def test_a_checkpoint_writes_only_the_tiles_that_changed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    ledger.append([look(number) for number in range(600)], SIGNER)
    ledger.checkpoint(SIGNER)
    assert contents(ledger.folder).tiles == sorted(required(601))
    before = {path: path.stat().st_ino for path in files_of(ledger.folder / "tile")}
    ledger.append(look(), SIGNER)
    ledger.checkpoint(SIGNER)
    after = {path: path.stat().st_ino for path in files_of(ledger.folder / "tile")}
    assert before.items() <= after.items()
    assert [path.name for path in after.keys() - before.keys()] == ["90"]
    assert ledger.verify(KEYS).covered == 602


@pytest.mark.rule("TIL-2")
def test_beginnings_of_a_tile_go_when_it_is_full_and_count_until_then(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    for count in (99, 100):
        ledger.append([look(number) for number in range(count)], SIGNER)
        ledger.checkpoint(SIGNER)
    found = ["tile/0/000.p/100", "tile/0/000.p/200"]
    assert [tile.path for tile in contents(ledger.folder).tiles] == found
    older = ledger.folder / found[0]
    whole = older.read_bytes()
    older.write_bytes(bytes(1) + whole[1:])
    assert ledger.verify(KEYS).first_bad == f"file {found[0]}"
    older.write_bytes(whole)
    ledger.append([look(number) for number in range(100)], SIGNER)
    ledger.checkpoint(SIGNER)
    found = ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]
    assert [tile.path for tile in contents(ledger.folder).tiles] == sorted(found)
    assert ledger.verify(KEYS).covered == 300


@pytest.mark.rule("LED-7")
def test_a_checkpoint_does_not_read_the_records_that_the_last_one_covers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = new_ledger(tmp_path / "ledger", SIGNER, (700, 2, 3))
    ledger.append([look(1), look(2)], SIGNER)
    read: list[int] = []
    whole = ledger_module.layout.read_batch

    def reading(folder: Path, first: int) -> list[bytes]:
        read.append(first)
        return whole(folder, first)

    monkeypatch.setattr(ledger_module.layout, "read_batch", reading)
    ledger.append(look(3), SIGNER)
    assert read == []  # and an append reads no batch at all
    ledger.checkpoint(SIGNER)
    assert read == [706, 708]


@pytest.mark.rule("LED-7")
def test_no_record_that_does_not_hold_is_covered(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", SIGNER)
    ledger.append([look(1), look(2)], SIGNER)
    path = ledger.folder / "entries/000/000/006.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    note = ledger.signed_checkpoint()
    for bad in ([lines[1], lines[0]], [lines[0].replace(b"A", b"B", 1), lines[1]]):
        path.write_bytes(b"".join(bad))
        fresh = Ledger(ledger.folder, ORIGIN)
        with pytest.raises(Refused, match=r"Record [67] does not hold"):
            fresh.checkpoint(SIGNER)
        assert ledger.signed_checkpoint() == note


@pytest.mark.rule("LED-5")
def test_a_writer_that_fails_anywhere_in_a_checkpoint_leaves_a_ledger_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails at its first, second, … file, before and after the file is in its place."""
    whole = Ledger(tmp_path / "whole", ORIGIN)
    whole.append([look(n) for n in range(250)], SIGNER)
    whole.checkpoint(SIGNER)
    whole.append([look(n) for n in range(300)], SIGNER)
    real = durable.write
    for number in range(12):
        ledger = Ledger(tmp_path / f"{number}", ORIGIN)
        shutil.copytree(whole.folder, ledger.folder)
        with monkeypatch.context() as context:
            failing = _Failing(real, at=number // 2, before=number % 2 == 0)
            context.setattr(durable, "write", failing)
            if number < 10:  # two full tiles, two beginnings, the checkpoint
                with pytest.raises(Fault):
                    ledger.checkpoint(SIGNER)
            else:
                assert ledger.checkpoint(SIGNER).size == 551
            assert len(failing.written) == min(number // 2 + 1, 5)
        assert ledger.verify(KEYS, signatures=False).ok
        again = Ledger(ledger.folder, ORIGIN)
        assert again.append(look(), SIGNER) == range(551, 552)
        assert again.checkpoint(SIGNER).size == 552
        found = ledger.verify(KEYS, signatures=False)
        assert (found.ok, found.covered) == (True, 552)


class _Failing:
    """A disk that fails at one write, before or after the file is in its place."""

    def __init__(self, real: Callable[..., None], *, at: int, before: bool) -> None:
        self.written: list[Path] = []
        self._real, self._at, self._before = real, at, before

    def __call__(self, target: Path, data: bytes, temporary: Path) -> None:
        self.written.append(target)
        fails = len(self.written) == self._at + 1
        if fails and self._before:
            raise Fault("The disk is full.", "Free space.")
        self._real(target, data, temporary)
        if fails:
            raise Fault("The disk failed.", "Repair it.")


KILLED = """
import sys
import time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from helpers_audit import ORIGIN, look
from audit.keys import load_or_create_signer
from audit.ledger import Ledger
signer = load_or_create_signer(Path(sys.argv[1]) / "keys")
ledger = Ledger(Path(sys.argv[1]) / "ledger", ORIGIN)
print("ready", flush=True)
while True:
    ledger.append([look(n) for n in range(130)], signer)
    ledger.checkpoint(signer)
"""


@pytest.mark.rule("LED-5")
def test_a_writer_killed_among_its_tiles_leaves_a_ledger_to_go_on(tmp_path: Path) -> None:
    from audit.keys import load_or_create_signer

    signer = load_or_create_signer(tmp_path / "keys")
    keys = keys_of(signer)
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    for round_ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path, Path(__file__).parent],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            _wait_for_tiles(ledger.folder, 2 + 3 * round_)
            os.kill(process.pid, signal.SIGKILL)
        found = ledger.verify(keys, signatures=False)
        assert found.ok, found
        assert ledger.append(look(), signer)[0] == found.records
        assert ledger.checkpoint(signer).size == found.records + 1
        assert ledger.verify(keys, signatures=False).ok


def _wait_for_tiles(folder: Path, count: int) -> None:
    while len(contents(folder).tiles) < count:
        time.sleep(0.001)


def _put(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
