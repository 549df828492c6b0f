"""A ledger takes records from many, and verification finds and names what was changed."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_audit import (
    ORIGIN,
    files_of,
    keys_of,
    look,
    new_ledger,
    new_signer,
    put,
    sha,
    stage_run,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import Signer

from audit import layout
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.envelope import open_envelope, read_statement, sign
from audit.errors import Fault, Refused
from audit.keys import load_or_create_signer, public_keys
from audit.ledger import Ledger
from audit.merkle import Tree, leaf_hash
from audit.place import place_of, placed
from audit.record import Record

SIGNER = new_signer()
NEWLINE = b"\n"
KEYS = keys_of(SIGNER)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Six records in three batches (0-2, 3, 4-5), all below the checkpoint; 0 enrolls the key."""
    return new_ledger(tmp_path / "ledger", SIGNER)


def batch(ledger: Ledger, first: int) -> Path:
    return layout.batch_path(ledger.folder, first)


# --- appending -----------------------------------------------------------------------------------


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 5), max_size=6))
def test_records_come_back_in_the_order_of_their_indexes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"), ORIGIN)
    appended: list[int] = []
    for size in sizes:
        appended += ledger.append([stage_run(len(appended) + step) for step in range(size)], SIGNER)
    found = list(ledger.records(KEYS))[1:]
    assert [index for index, _ in found] == appended == list(range(1, sum(sizes) + 1))
    assert [Record(*pair).findings["epochs"] for pair in found] == list(range(sum(sizes)))
    for since in range(1, len(appended) + 2):
        assert list(ledger.records(since=since)) == found[since - 1 :]
        assert list(ledger.envelopes(range(since, len(appended) + 1))) == list(ledger.read(since))


@pytest.mark.rule("LED-2")
def test_a_signed_record_names_its_place(ledger: Ledger) -> None:
    for index, raw in ledger.read():
        place = open_envelope(raw, KEYS)["predicate"]["kette_ledger"]
        assert place.keys() == {"index", "origin", "at", "key_record"}
        assert (place["index"], place["origin"]) == (index, ORIGIN)
        assert place["key_record"] == (0 if index else None)
        assert place["at"].endswith("Z")


def test_a_long_sequence_is_cut_into_batches_that_keep_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.ledger.BATCH_RECORDS", 3)
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    assert ledger.append([stage_run(n) for n in range(7)], SIGNER) == range(1, 8)
    assert layout.batches(ledger.folder) == [0, 3, 6]
    with monkeypatch.context() as context:
        context.setattr("audit.layout.BATCH_BYTES", 5000)
        ledger.append([stage_run(n) for n in range(4)], SIGNER)
    added = layout.batches(ledger.folder)[3:]
    assert len(added) > 1
    assert all(batch(ledger, first).stat().st_size <= 5000 for first in added)
    assert ledger.verify(KEYS).records == 12


def test_indexes_past_a_thousand_lie_in_the_next_folder(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    ledger.append([look(n) for n in range(998)], SIGNER)
    for _ in range(3):
        ledger.append(look(), SIGNER)
    names = [path.relative_to(ledger.folder).as_posix() for path in files_of(ledger.folder)]
    assert names == [
        "checkpoint",
        "entries/000/000/000.jsonl",
        "entries/000/000/999.jsonl",
        "entries/000/001/000.jsonl",
        "entries/000/001/001.jsonl",
        "lock",
    ]
    assert [index for index, _ in ledger.read(1000)] == [1000, 1001]
    assert ledger.verify(KEYS).records == 1002


def _append_fifty(folder: Path, worker: int, signer_folder: Path) -> None:
    signer = load_or_create_signer(signer_folder)
    ledger = Ledger(folder, ORIGIN)
    for number in range(50):
        ledger.append(stage_run(1000 * worker + number), signer)


@pytest.mark.rule("LED-2")
def test_four_processes_at_once_leave_no_gap_and_no_duplicate(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    signer = load_or_create_signer(keys)
    spawn = multiprocessing.get_context("fork")
    workers = [
        spawn.Process(target=_append_fifty, args=(tmp_path / "ledger", worker, keys))
        for worker in range(4)
    ]
    for worker in workers:
        worker.start()
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    while any(worker.is_alive() for worker in workers):
        ledger.by_key()  # a reader sees whole records only, in order
        time.sleep(0.01)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    records = ledger.records(public_keys(keys), since=1)
    found = [Record(*pair).findings["epochs"] for pair in records]
    assert sorted(found) == sorted(1000 * worker + n for worker in range(4) for n in range(50))
    for worker in range(4):
        own = [number for number in found if number // 1000 == worker]
        assert own == sorted(own)
    assert len(ledger.by_key()) == 200
    ledger.checkpoint(signer)
    assert ledger.verify(public_keys(keys)).covered == 201


@pytest.mark.rule("DUR-2")
def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    threads = [
        threading.Thread(target=lambda: [ledger.append(look(), SIGNER) for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.verify(KEYS).records == 41


KILLED = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from helpers_audit import ORIGIN, stage_run
from audit.keys import load_or_create_signer
from audit.ledger import Ledger
signer = load_or_create_signer(Path(sys.argv[2]))
ledger = Ledger(Path(sys.argv[1]), ORIGIN)
number = 0
while True:
    indexes = ledger.append([stage_run(number + step) for step in range(1 + number % 7)], signer)
    sys.stdout.write(f"{indexes[-1]}\\n")
    sys.stdout.flush()
    number += 1
    if number % 5 == 0:
        ledger.checkpoint(signer)
"""


@pytest.mark.rule("LED-1")
@pytest.mark.rule("LED-5")
def test_a_killed_writer_leaves_all_that_was_acknowledged_and_a_ledger_to_go_on(
    tmp_path: Path,
) -> None:
    folder, keys = tmp_path / "ledger", tmp_path / "keys"
    signer = load_or_create_signer(keys)
    for round_ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, folder, keys, Path(__file__).parent],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline()) for _ in range(3)]
            time.sleep(0.003 * round_)
            os.kill(process.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        found = Ledger(folder, ORIGIN).verify(public_keys(keys))
        assert found.ok, found
        assert found.records > acknowledged[-1]
        ledger = Ledger(folder, ORIGIN)
        assert ledger.append(look(), signer) == range(found.records, found.records + 1)
        assert ledger.checkpoint(signer).size == found.records + 1
        assert not (folder / layout.TEMPORARY).exists()
        assert ledger.verify(public_keys(keys)).ok


@pytest.mark.rule("LED-5")
@pytest.mark.parametrize("left", [b"", b"half a rec", b"x" * 100_000])
def test_what_a_killed_writer_left_is_no_record_and_goes_with_the_next(
    ledger: Ledger, left: bytes
) -> None:
    (ledger.folder / layout.TEMPORARY).write_bytes(left)
    (ledger.folder / layout.ENTRIES / "000" / "001").mkdir()
    assert ledger.verify(KEYS).records == 6
    assert list(ledger.append(look(), SIGNER)) == [6]
    assert not (ledger.folder / layout.TEMPORARY).exists()


@pytest.mark.rule("DUR-1")
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_a_failing_disk_is_a_fault_that_leaves_the_ledger_whole(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    ledger.append(look(), SIGNER)
    real_open = Path.open

    def fail(*args: object, **kwargs: object) -> object:
        if call.endswith("open") and args[1:] != ("xb",):
            return real_open(*args, **kwargs)  # type: ignore[call-overload]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(call, fail)
        with pytest.raises(Fault, match="No space left"):
            ledger.append([look(1), look(2)], SIGNER)
    assert ledger.verify(KEYS).records == 7
    assert list(ledger.append(look(), SIGNER)) == [7]
    assert ledger.verify(KEYS).ok


@pytest.mark.rule("DUR-2")
def test_a_deleted_lock_file_lets_no_two_writers_in(ledger: Ledger) -> None:
    from audit.durable import exclusive

    lock = ledger.folder / layout.LOCK
    entered = threading.Event()

    def second() -> None:
        with exclusive(lock):
            entered.set()

    with exclusive(lock):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.05)
        assert not entered.is_set()
        lock.unlink()
        lock.touch()
        with exclusive(lock):  # the new file's lock: the waiting thread must come to want this one
            pass
    waiting.join(timeout=10)
    assert entered.is_set()


# --- what a ledger refuses to go on with ----------------------------------------------------------


@pytest.mark.rule("LED-3")
def test_a_ledger_without_its_checkpoint_is_not_written_to(ledger: Ledger) -> None:
    (ledger.folder / layout.CHECKPOINT).unlink()
    for write in (lambda: ledger.append(look(), SIGNER), lambda: ledger.checkpoint(SIGNER)):
        with pytest.raises(Refused, match="no checkpoint"):
            write()


@pytest.mark.rule("LED-3")
def test_no_checkpoint_is_signed_over_records_that_do_not_extend_the_last(ledger: Ledger) -> None:
    (ledger.folder / "tile/0/000.p/6").write_bytes(bytes(6 * 32))
    ledger.append(look(), SIGNER)
    with pytest.raises(Refused, match="not those of its checkpoint"):
        ledger.checkpoint(SIGNER)


@pytest.mark.rule("LED-3")
def test_a_ledger_cut_off_below_its_checkpoint_is_not_written_to(ledger: Ledger) -> None:
    batch(ledger, 4).unlink()
    for write in (lambda: ledger.append(look(), SIGNER), lambda: ledger.checkpoint(SIGNER)):
        with pytest.raises(Refused, match="Record 4 is missing"):
            write()


@pytest.mark.rule("LED-4")
def test_another_key_or_origin_does_not_write_to_a_ledger(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="not enrolled"):
        ledger.append(look(), new_signer())
    with pytest.raises(Refused, match="another ledger"):
        Ledger(ledger.folder, "kette/other").append(look(), SIGNER)


def test_a_checkpoint_again_without_new_records_changes_no_file(ledger: Ledger) -> None:
    before = [path.stat() for path in files_of(ledger.folder)]
    ledger.checkpoint(SIGNER)
    assert [path.stat().st_mtime_ns for path in files_of(ledger.folder)] == [
        status.st_mtime_ns for status in before
    ]


# --- looking up -----------------------------------------------------------------------------------


def test_a_key_gives_its_newest_making_and_never_its_reuse(ledger: Ledger) -> None:
    ledger.append(stage_run(1, measured={"seconds": 9}), SIGNER)
    assert ledger.by_key()[sha(1)].measured == {"seconds": 9}
    ledger.append([stage_run(1, status="reused"), look(), stage_run(70, status="reused")], SIGNER)
    found = Ledger(ledger.folder, ORIGIN).by_key()
    assert found == ledger.by_key()
    assert (found[sha(1)].index, len(found)) == (6, 5)


def test_a_ledger_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "none", ORIGIN)
    assert list(ledger.read()) == []
    assert ledger.by_key() == {}
    assert not ledger.folder.exists()


# --- verification ---------------------------------------------------------------------------------


def test_a_whole_ledger_verifies_and_counts_what_the_checkpoint_covers(ledger: Ledger) -> None:
    ledger.append([look(), look()], SIGNER)
    found = ledger.verify(KEYS)
    assert (found.ok, found.records, found.covered, found.first_bad) == (True, 8, 6, None)


@pytest.mark.rule("AUD-1")
@pytest.mark.rule("AUD-2")
@pytest.mark.rule("AUD-3")
@pytest.mark.parametrize("signatures", [True, False])
def test_a_changed_bit_anywhere_is_found_and_named(tmp_path: Path, signatures: bool) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    ledger.append([look(), look(1)], SIGNER)
    ledger.append(look(2), SIGNER)
    ledger.checkpoint(SIGNER)
    for path in files_of(ledger.folder):
        whole = path.read_bytes()
        # Every bit of the shortest files and of the line ends; every 97th of the rest.
        ends = {8 * i + bit for i, byte in enumerate(whole) if byte == 10 for bit in range(8)}
        bits = range(0, 8 * len(whole), 97 if len(whole) > 500 else 1)
        for bit in sorted(ends | set(bits)):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            found = ledger.verify(KEYS, signatures=signatures)
            name = path.relative_to(ledger.folder).as_posix()
            if name.startswith("entries"):
                name = f"record {int(path.stem) + whole.count(NEWLINE, 0, bit // 8)}"
            elif name.startswith("tile"):
                name = f"file {name}"
            assert (found.ok, found.first_bad) == (False, name)
        path.write_bytes(whole)
    assert ledger.verify(KEYS).ok


@pytest.mark.rule("AUD-2")
def test_a_changed_bit_names_its_own_record_inside_a_batch(ledger: Ledger) -> None:
    data = bytearray(batch(ledger, 0).read_bytes())
    data[data.index(b"\n") + 200] ^= 1
    batch(ledger, 0).write_bytes(data)
    assert ledger.verify(KEYS).first_bad == "record 1"


def _lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Ledger], None]:
    def tamper(ledger: Ledger) -> None:
        path = batch(ledger, 0)
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return tamper


def _renamed(first: int, to: int) -> Callable[[Ledger], None]:
    return lambda ledger: batch(ledger, first).rename(batch(ledger, to))  # type: ignore[return-value]


def _swap_files(ledger: Ledger) -> None:
    one, two = batch(ledger, 0), batch(ledger, 3)
    one_data, two_data = one.read_bytes(), two.read_bytes()
    one.write_bytes(two_data)
    two.write_bytes(one_data)


def _foreign(ledger: Ledger) -> None:
    raw = sign(placed(stage_run(3), put(3)), new_signer())
    batch(ledger, 3).write_bytes(raw + b"\n")


def _resigned(ledger: Ledger) -> None:
    """The owner rewrites one record with the right key: only tile and checkpoint can tell."""
    place = place_of(read_statement(layout.read_envelope(ledger.folder, 3)))
    raw = sign(placed(stage_run(3, findings={"dice": 1}), place), SIGNER)
    batch(ledger, 3).write_bytes(raw + b"\n")


def _transplanted(ledger: Ledger) -> None:
    raw = sign(placed(stage_run(3), put(3, origin="kette/other")), SIGNER)
    batch(ledger, 3).write_bytes(raw + b"\n")


def _wrong_root(ledger: Ledger) -> None:
    tree = Tree()
    for index, raw in ledger.read():
        tree.append(leaf_hash(raw + b"x" * (index == 0)))
    note = sign_checkpoint(Checkpoint(ORIGIN, 6, tree.root()), SIGNER)
    (ledger.folder / "checkpoint").write_bytes(note)


def _wrong_size(ledger: Ledger) -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), SIGNER)
    (ledger.folder / "checkpoint").write_bytes(note)


@pytest.mark.rule("AUD-2")
@pytest.mark.rule("AUD-3")
@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        pytest.param(lambda ledger: batch(ledger, 0).unlink(), "record 0", id="first deleted"),
        pytest.param(lambda ledger: batch(ledger, 3).unlink(), "record 3", id="middle deleted"),
        pytest.param(lambda ledger: batch(ledger, 4).unlink(), "record 4", id="last deleted"),
        pytest.param(_lines(lambda lines: lines[1:]), "record 0", id="line deleted"),
        pytest.param(_lines(lambda lines: lines[:2]), "record 2", id="batch cut at a line"),
        pytest.param(
            _lines(lambda lines: [*lines[:2], lines[2][:-9]]), "record 2", id="batch cut in a line"
        ),
        pytest.param(_lines(lambda lines: []), "record 0", id="batch emptied"),
        pytest.param(
            _lines(lambda lines: [lines[1], lines[0], lines[2]]), "record 0", id="lines swapped"
        ),
        pytest.param(
            _lines(lambda lines: [lines[0], lines[0], *lines[1:]]), "record 1", id="line doubled"
        ),
        pytest.param(_lines(lambda lines: [*lines, lines[2]]), "record 3", id="line appended"),
        pytest.param(_lines(lambda lines: [*lines, b"\n"]), "record 3", id="empty line"),
        pytest.param(_swap_files, "record 0", id="batches swapped"),
        pytest.param(_renamed(4, 5), "record 4", id="gap"),
        pytest.param(_renamed(3, 2), "record 2", id="overlap"),
        pytest.param(
            lambda ledger: shutil.copy(batch(ledger, 3), batch(ledger, 6)),
            "record 6",
            id="batch doubled at the end",
        ),
        pytest.param(_foreign, "record 3", id="foreign key"),
        pytest.param(_transplanted, "record 3", id="another ledger's record"),
        pytest.param(_resigned, "record 3", id="rewritten by the key's owner"),
        pytest.param(_wrong_root, "checkpoint", id="wrong root"),
        pytest.param(_wrong_size, "checkpoint", id="wrong root of the empty tree"),
        pytest.param(
            lambda ledger: (ledger.folder / "checkpoint").unlink(), "checkpoint", id="no checkpoint"
        ),
        pytest.param(
            lambda ledger: (ledger.folder / "checkpoint").write_bytes(b""),
            "checkpoint",
            id="empty checkpoint",
        ),
    ],
)
def test_tampering_is_found_and_named(
    ledger: Ledger, tamper: Callable[[Ledger], None], named: str
) -> None:
    tamper(ledger)
    found = ledger.verify(KEYS)
    assert (found.ok, found.covered, found.first_bad) == (False, 0, named)
    assert found.reason


@pytest.mark.rule("AUD-4")
def test_records_behind_the_checkpoint_are_verified_one_by_one(ledger: Ledger) -> None:
    ledger.append([look(0), look(1), look(2)], SIGNER)
    path = batch(ledger, 6)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[2], lines[1]]))
    assert ledger.verify(KEYS).first_bad == "record 7"


@pytest.mark.rule("AUD-1")
@pytest.mark.parametrize(
    "name",
    [
        "note.txt",
        ".hidden",
        "append.tmp2",
        "entries/000/000/000.jsonl.bak",
        "entries/000/000/7.jsonl",
        "entries/note",
        "entries/000/note",
        "entries/٠٠٠/000/000.jsonl",
        "checkpoints/1",
        "entries/000/000/001.jsonl/x",
    ],
)
def test_a_file_without_a_place_is_named(ledger: Ledger, name: str) -> None:
    path = ledger.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    first_bad = ledger.verify(KEYS).first_bad
    assert first_bad is not None
    assert name.startswith(first_bad.removeprefix("file "))


@pytest.mark.rule("AUD-1")
def test_a_lock_file_that_is_not_empty_is_named(ledger: Ledger) -> None:
    (ledger.folder / "lock").write_text("1")
    assert ledger.verify(KEYS).first_bad == "file lock"


@pytest.mark.rule("AUD-1")
@pytest.mark.parametrize("name", ["checkpoint", "entries/000/000/000.jsonl", "entries"])
def test_a_link_in_place_of_a_file_is_named(ledger: Ledger, name: str, tmp_path: Path) -> None:
    path = ledger.folder / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert ledger.verify(KEYS).first_bad == f"file {name}"


def test_a_ledger_that_lost_everything_does_not_verify(ledger: Ledger) -> None:
    shutil.rmtree(ledger.folder)
    assert ledger.verify(KEYS).first_bad == "checkpoint"


def test_verification_needs_no_lock_file_and_writes_nothing(ledger: Ledger) -> None:
    (ledger.folder / "lock").unlink()
    before = files_of(ledger.folder)
    assert ledger.verify(KEYS).ok
    assert files_of(ledger.folder) == before


def test_a_record_over_the_limit_is_bad_without_being_read_whole(ledger: Ledger) -> None:
    with batch(ledger, 4).open("r+b") as file:
        file.truncate(layout.BATCH_BYTES + 1)
    assert ledger.verify(KEYS).first_bad == "record 4"


def test_reading_past_a_missing_batch_is_refused(ledger: Ledger) -> None:
    batch(ledger, 3).unlink()
    with pytest.raises(Refused, match="Record 3"):
        list(ledger.read())
    with pytest.raises(Refused, match="Record 3"):
        list(ledger.read(3))
    assert [index for index, _ in ledger.read(4)] == [4, 5]


def test_every_change_of_a_record_is_seen_by_a_reader_with_keys(ledger: Ledger) -> None:
    _foreign(ledger)
    with pytest.raises(Refused, match="unknown key"):
        list(ledger.records(KEYS))


def test_other_signers_serve_alike(tmp_path: Path) -> None:
    signer: Signer = load_or_create_signer(tmp_path / "keys")
    ledger = new_ledger(tmp_path / "ledger", signer)
    assert ledger.verify(public_keys(tmp_path / "keys")).ok
    assert not ledger.verify(KEYS).ok
    assert not ledger.verify({}).ok
