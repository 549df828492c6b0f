"""A disk that fails and a process that is killed, at every call by which a ledger is written."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers_strace import FAULTS, Say, recorded, run
from securesystemslib.signer import CryptoSigner

from audit import clock, layout, ledger
from audit.checkpoint import read_checkpoint
from audit.ledger import Ledger
from audit.mirror import checkpoints, mirror
from audit.statement import event

pytestmark = [pytest.mark.peer("strace"), pytest.mark.rule("LED-1"), pytest.mark.rule("LED-5")]
ORIGIN = "kette/test"
SIGNER = CryptoSigner.generate_ed25519()
KEYS = {SIGNER.public_key.keyid: SIGNER.public_key}
SAMPLE = 4
"""Points of each scene that `make test` has; all of them are in the broad suite."""


def look(number: int) -> dict[str, Any]:
    return event("look", at=datetime(2026, 1, 1, tzinfo=UTC), details={"number": number})


def looks(first: int, count: int) -> list[dict[str, Any]]:
    return [look(number) for number in range(first, first + count)]


def append(folder: Path, count: int, say: Say) -> None:
    for index in Ledger(folder / "ledger", ORIGIN).append(looks(1000, count), SIGNER):
        say(f"record {index}")


def checkpoint(folder: Path, say: Say) -> None:
    say(f"checkpoint {Ledger(folder / 'ledger', ORIGIN).checkpoint(SIGNER).size}")


def append_and_checkpoint(folder: Path, say: Say) -> None:
    append(folder, 1, say)
    checkpoint(folder, say)


def append_over_batches(folder: Path, say: Say) -> None:
    ledger.BATCH_RECORDS = 2
    append(folder, 5, say)


def append_when_the_clock_went_back(folder: Path, say: Say) -> None:
    early = clock.now() - timedelta(days=1)
    clock.now = lambda: early
    append(folder, 1, say)


def copy(folder: Path, say: Say) -> None:
    copied = mirror(Ledger(folder / "ledger", ORIGIN), str(folder / "mirror"))
    say(f"mirrored {copied.size}")


@dataclass(frozen=True)
class Scene:
    """What is done to a ledger of some records."""

    covered: int
    """Records below its checkpoint, the enrollment included."""
    behind: int
    work: Callable[[Path, Say], None]
    mirrored: bool = False

    def lay(self, folder: Path) -> None:
        """Make the ledger as it stands before the work."""
        book = Ledger(folder / "ledger", ORIGIN)
        folder.mkdir()
        if self.covered:
            book.append(looks(0, self.covered - 1), SIGNER)
            book.checkpoint(SIGNER)
        if self.mirrored:
            mirror(book, str(folder / "mirror"))
        if self.behind:
            book.append(looks(self.covered - 1, self.behind), SIGNER)
            if self.mirrored:
                book.checkpoint(SIGNER)


SCENES = {
    "first": Scene(0, 0, lambda folder, say: append(folder, 1, say)),
    "one": Scene(3, 2, append_and_checkpoint),
    "several": Scene(3, 0, lambda folder, say: append(folder, 4, say)),
    "batches": Scene(3, 0, append_over_batches),
    "folder": Scene(1000, 0, append_and_checkpoint),
    "clock": Scene(3, 0, append_when_the_clock_went_back),
    "tile": Scene(250, 20, checkpoint),
    "growth": Scene(270, 3, checkpoint),
    "mirror": Scene(250, 20, copy, mirrored=True),
}


def numbers(book: Ledger) -> dict[int, int]:
    """Index → number of each look."""
    return {
        index: statement["predicate"]["details"]["number"]
        for index, statement in book.records()
        if statement["predicate"]["kind"] == "look"
    }


def holds(folder: Path, scene: Scene, said: list[str]) -> None:
    """Nothing that was told is lost, nothing is damaged, and the next writer goes on."""
    book, there = Ledger(folder / "ledger", ORIGIN), {}
    if (folder / "ledger" / layout.CHECKPOINT).exists() or said or scene.covered:
        found = book.verify(KEYS)
        assert found.ok, found
        there = numbers(book)
    before = max(0, scene.covered - 1) + scene.behind
    new = list(there.values())[before:]
    assert list(there.values())[:before] == list(range(before))
    assert new == list(range(1000, 1000 + len(new)))
    known = {}
    for kind, number in (line.split() for line in said):
        if kind == "record":
            assert int(number) in there
        elif kind == "checkpoint":
            assert read_checkpoint(book.signed_checkpoint()).size >= int(number)
        else:
            assert number in checkpoints(str(folder / "mirror"))
    if scene.mirrored:
        known = dict(checkpoints(str(folder / "mirror")))
        assert book.verify(KEYS, known=known).ok
        mirror(book, str(folder / "mirror"))
    (index,) = book.append(look(7), SIGNER)
    assert book.checkpoint(SIGNER).size == index + 1
    found = book.verify(KEYS, known=known)
    assert (found.ok, found.covered) == (True, index + 1), found
    assert not (folder / "ledger" / layout.TEMPORARY).exists()


def sweep(tmp_path: Path, scene: Scene, points: int | None) -> None:
    """Each fault at each call, or at some of them."""
    before, folder = tmp_path / "before", tmp_path / "now"
    scene.lay(before)

    def work(say: Say) -> None:
        scene.work(folder, say)

    shutil.copytree(before, folder)
    chosen = [(call, fault) for call in recorded(work, folder) for fault in FAULTS]
    assert len(chosen) > SAMPLE
    if points is not None:
        chosen = random.Random(len(chosen)).sample(chosen, points)
    for call, fault in chosen:
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        ended = run(work, call.inject(fault))
        try:
            assert ended.met
            holds(folder, scene, ended.said)
        except Exception as error:
            raise AssertionError(f"{fault} at {call}: {error}\n{ended}") from error


@pytest.mark.parametrize("name", SCENES)
def test_a_fault_while_writing_loses_nothing(tmp_path, name):
    sweep(tmp_path, SCENES[name], SAMPLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_a_fault_at_any_call_of_writing_loses_nothing(tmp_path, name):
    sweep(tmp_path, SCENES[name], None)
