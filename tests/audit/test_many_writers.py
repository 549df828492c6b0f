"""Eight processes append to one ledger at once, in batches of different sizes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers_audit import ORIGIN, keys_of, look, new_signer
from securesystemslib.signer import Signer

from audit.ledger import Ledger

WRITERS = 8
SIZES = (1, 2, 5, 12)
"""Of a writer's batches, again and again."""


def _write(folder: Path, signer: Signer, writer: int, records: int, given: Path) -> None:
    """Append a writer's records, and tell the indexes that they were given."""
    ledger, indexes, number = Ledger(folder, ORIGIN), list[int](), 0
    while number < records:
        size = min(SIZES[len(indexes) % len(SIZES)], records - number)
        batch = [look(writer * records + number + step) for step in range(size)]
        indexes += ledger.append(batch, signer)
        number += size
    given.write_text(" ".join(map(str, indexes)))


def _write_at_once(folder: Path, signer: Signer, records: int) -> Sequence[list[int]]:
    """Each writer's indexes."""
    fork = multiprocessing.get_context("fork")
    given = [folder.with_name(f"given-{writer}") for writer in range(WRITERS)]
    writers = [
        fork.Process(target=_write, args=(folder, signer, writer, records, given[writer]))
        for writer in range(WRITERS)
    ]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    return [[int(index) for index in path.read_text().split()] for path in given]


@pytest.mark.rule("LED-1")
@pytest.mark.rule("LED-2")
@pytest.mark.parametrize("records", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_eight_processes_at_once_leave_no_gap_and_no_duplicate(tmp_path, records):
    folder, signer = tmp_path / "ledger", new_signer()
    given = _write_at_once(folder, signer, records)
    total = WRITERS * records
    assert sorted(index for indexes in given for index in indexes) == list(range(1, total + 1))
    ledger = Ledger(folder, ORIGIN)
    found = {
        index: statement["predicate"]["details"]["number"]
        for index, statement in ledger.records(since=1)
        if statement["predicate"]["kind"] == "look"
    }
    assert {index: writer * records + number for writer, indexes in enumerate(given)
            for number, index in enumerate(indexes)} == found  # fmt: skip
    ledger.checkpoint(signer)
    verified = ledger.verify(keys_of(signer))
    assert (verified.ok, verified.covered) == (True, total + 1), verified
