"""A ledger of 2,000 records: whatever is done to it is found, and what it was done to is named."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers_audit import files_of, look, stage_run
from helpers_generated import RECORDS, Generated, generate

from audit import layout
from audit.ledger import Ledger
from audit.verification import Verification

NEWLINE = b"\n"
KINDS = [
    "first enrolment",
    "unit",
    "merge",
    "clock",
    "event",
    "enrolment",
    "signature",
    "release",
    "retirement",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    made = generate(tmp_path_factory.mktemp("generated") / "ledger")
    assert made.ledger.verify(made.keys).covered == RECORDS
    assert set(KINDS) == made.kinds.keys()
    return made


@pytest.fixture
def ledger(whole: Generated, tmp_path: Path) -> Ledger:
    """A copy to be changed."""
    shutil.copytree(whole.ledger.folder, tmp_path / "ledger")
    return Ledger(tmp_path / "ledger", whole.ledger.origin)


def _flips(path: Path, bits: list[int]) -> Iterator[int]:
    """Flip each bit in turn; the file is as it was in the end."""
    data = path.read_bytes()
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        yield bit
    path.write_bytes(data)


def _names_each(
    ledger: Ledger, path: Path, bits: list[int], verify: Callable[[], Verification]
) -> None:
    data = path.read_bytes()
    name = path.relative_to(ledger.folder).as_posix()
    for bit in _flips(path, bits):
        expected = name if name == layout.CHECKPOINT else f"file {name}"
        if name.startswith(layout.ENTRIES):
            first = int("".join(path.relative_to(ledger.folder / layout.ENTRIES).parts)[:9])
            expected = f"record {first + data.count(NEWLINE, 0, bit // 8)}"
        found = verify()
        assert (found.ok, found.covered, found.first_bad) == (False, 0, expected), bit


def _record_bits(ledger: Ledger, whole: Generated, kind: str) -> tuple[Path, int]:
    """The batch that holds one record of a kind alone or first, and the record's bits."""
    index = whole.kinds[kind]
    first = layout.newest_batch(ledger.folder, index)
    assert first is not None
    path = layout.batch_path(ledger.folder, first)
    return path, 8 * path.stat().st_size


@pytest.mark.slow
@pytest.mark.rule("AUD-2")
@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_of_a_record_of_each_kind_is_held(
    ledger: Ledger, whole: Generated, kind: str
) -> None:
    path, bits = _record_bits(ledger, whole, kind)
    _names_each(ledger, path, list(range(bits)), lambda: ledger.verify(whole.keys))


@pytest.mark.rule("AUD-2")
@pytest.mark.parametrize("kind", KINDS)
def test_sampled_bits_of_a_record_of_each_kind_are_held(
    ledger: Ledger, whole: Generated, kind: str
) -> None:
    path, bits = _record_bits(ledger, whole, kind)
    _names_each(ledger, path, list(range(0, bits, 1009)), lambda: ledger.verify(whole.keys))
    _names_each(ledger, path, [7, bits - 1], lambda: ledger.verify(whole.keys, signatures=False))


@pytest.mark.slow
@pytest.mark.rule("AUD-3")
def test_every_bit_of_the_checkpoint_is_held(ledger: Ledger, whole: Generated) -> None:
    path = ledger.folder / layout.CHECKPOINT
    bits = list(range(8 * path.stat().st_size))
    _names_each(ledger, path, bits, lambda: ledger.verify(whole.keys, signatures=False))


@pytest.mark.rule("AUD-3")
def test_sampled_bits_of_the_checkpoint_are_held(ledger: Ledger, whole: Generated) -> None:
    path = ledger.folder / layout.CHECKPOINT
    bits = list(range(0, 8 * path.stat().st_size, 61))
    _names_each(ledger, path, bits, lambda: ledger.verify(whole.keys, signatures=False))


def _sample(ledger: Ledger, whole: Generated, each: int, *, signatures: bool) -> None:
    chance = random.Random(3)
    for path in files_of(ledger.folder):
        if path.name == layout.LOCK:
            continue
        bits = [chance.randrange(8 * path.stat().st_size) for _ in range(each)]
        _names_each(ledger, path, bits, lambda: ledger.verify(whole.keys, signatures=signatures))


@pytest.mark.rule("AUD-5")
@pytest.mark.rule("AUD-7")
def test_sampled_bits_of_every_file_are_held(ledger: Ledger, whole: Generated) -> None:
    _sample(ledger, whole, 2, signatures=False)


@pytest.mark.slow
@pytest.mark.rule("AUD-5")
@pytest.mark.parametrize("signatures", [True, False])
def test_many_bits_of_every_file_are_held(
    ledger: Ledger, whole: Generated, signatures: bool
) -> None:
    _sample(ledger, whole, 5 if signatures else 40, signatures=signatures)


def _at(ledger: Ledger, index: int) -> tuple[Path, int]:
    """The batch of a record, and its line there."""
    first = layout.newest_batch(ledger.folder, index)
    assert first is not None
    return layout.batch_path(ledger.folder, first), index - first


def _edit(ledger: Ledger, index: int, change: Callable[[list[bytes], int], None]) -> None:
    path, line = _at(ledger, index)
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines, line)
    path.write_bytes(b"".join(lines))


def _delete(ledger: Ledger, index: int) -> int:
    _edit(ledger, index, lambda lines, line: lines.pop(line) and None)
    return index


def _double(ledger: Ledger, index: int) -> int:
    _edit(ledger, index, lambda lines, line: lines.insert(line, lines[line]))
    return index + 1


def _copy_to_another_place(ledger: Ledger, index: int) -> int:
    other = (index + 777) % RECORDS
    raw = layout.read_envelope(ledger.folder, index) + NEWLINE
    _edit(ledger, other, lambda lines, line: lines.insert(line, raw))
    return other


def _swap(ledger: Ledger, index: int) -> int:
    other = (index + 1234) % RECORDS
    one, two = (layout.read_envelope(ledger.folder, i) + NEWLINE for i in (index, other))
    _edit(ledger, index, lambda lines, line: lines.__setitem__(line, two))
    _edit(ledger, other, lambda lines, line: lines.__setitem__(line, one))
    return min(index, other)


def _truncate(ledger: Ledger, index: int) -> int:
    """Cut the ledger off before a record, in the middle of a batch or not."""
    path, line = _at(ledger, index)
    for later in layout.batches(ledger.folder):
        if later > index - line:
            layout.batch_path(ledger.folder, later).unlink()
    lines = path.read_bytes().splitlines(keepends=True)[:line]
    path.write_bytes(b"".join(lines)) if lines else path.unlink()
    return index


@pytest.mark.rule("AUD-2")
@pytest.mark.parametrize("signatures", [True, False])
@pytest.mark.parametrize("change", [_delete, _double, _copy_to_another_place, _swap, _truncate])
@pytest.mark.parametrize("index", [0, 1, 8, 300, 1964, 1965, 1999])
def test_a_record_gone_doubled_moved_or_cut_off_is_named(
    ledger: Ledger,
    whole: Generated,
    change: Callable[[Ledger, int], int],
    index: int,
    signatures: bool,
) -> None:
    expected = f"record {change(ledger, index)}"
    if change is _truncate and index <= whole.kinds["enrolment"]:
        expected = "checkpoint"  # its key's enrolment is gone too: its signature says nothing
    found = ledger.verify(whole.keys, signatures=signatures)
    assert (found.ok, found.first_bad) == (False, expected)


@pytest.mark.slow
@pytest.mark.rule("AUD-2")
@pytest.mark.parametrize("change", [_delete, _double, _copy_to_another_place, _swap, _truncate])
def test_any_record_gone_doubled_moved_or_cut_off_is_named(
    ledger: Ledger, whole: Generated, change: Callable[[Ledger, int], int], tmp_path: Path
) -> None:
    for index in random.Random(9).sample(range(RECORDS), 40):
        copy = Ledger(tmp_path / f"{index}", ledger.origin)
        shutil.copytree(ledger.folder, copy.folder)
        expected = change(copy, index)
        found = copy.verify(whole.keys, signatures=False)
        assert (found.ok, found.first_bad) == (False, f"record {expected}")
        shutil.rmtree(copy.folder)


@pytest.mark.rule("AUD-5")
def test_a_tile_gone_cut_or_moved_is_named(ledger: Ledger, whole: Generated) -> None:
    for name in ("tile/0/003", "tile/0/007.p/208", "tile/1/000.p/7"):
        path = ledger.folder / name
        data = path.read_bytes()
        for change in (path.unlink, lambda: path.write_bytes(data[:-32])):  # noqa: B023 - used here
            change()
            found = ledger.verify(whole.keys, signatures=False)
            assert (found.ok, found.first_bad) == (False, f"file {name}")
        path.write_bytes(data)
    for name in ("tile/0/007.p/209", "tile/0/008", "tile/2/000.p/1", "tile/0/x000/003", "tile/7"):
        path = ledger.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(32))
        assert ledger.verify(whole.keys, signatures=False).first_bad == f"file {name}"
        path.unlink()
    shutil.rmtree(ledger.folder / "tile/2", ignore_errors=True)
    assert ledger.verify(whole.keys, signatures=False).ok


@pytest.mark.rule("AUD-6")
def test_records_cut_off_behind_the_checkpoint_are_found_from_elsewhere(
    ledger: Ledger, whole: Generated
) -> None:
    shutil.copytree(ledger.folder, ledger.folder.with_name("before"))
    ledger.append([look(1), look(2)], whole.second)
    ledger.checkpoint(whole.second)
    newer = ledger.signed_checkpoint()
    rolled_back = Ledger(ledger.folder.with_name("before"), ledger.origin)
    assert rolled_back.verify(whole.keys, signatures=False).ok
    for known in ({"tag phantom@v1": newer}, {"old": rolled_back.signed_checkpoint(), "x": newer}):
        label = next(name for name, note in known.items() if note == newer)
        found = rolled_back.verify(whole.keys, known=known, signatures=False)
        assert (found.ok, found.first_bad) == (False, f"checkpoint {label}")
        assert "rolled back" in (found.reason or "")
        assert ledger.verify(whole.keys, known=known, signatures=False).ok


@pytest.mark.rule("AUD-6")
@pytest.mark.parametrize("signatures", [True, False])
def test_a_fork_is_found_by_the_other_branch_s_checkpoint(
    ledger: Ledger, whole: Generated, signatures: bool
) -> None:
    other = Ledger(ledger.folder.with_name("other"), ledger.origin)
    shutil.copytree(ledger.folder, other.folder)
    for branch, number in ((ledger, 1), (other, 2)):
        branch.append([stage_run(number), look(number)], whole.second)
        branch.checkpoint(whole.second)
        branch.append([stage_run(5)], whole.second)
        branch.checkpoint(whole.second)
        assert branch.verify(whole.keys, signatures=False).ok
    known = {"mirror 2003": other.signed_checkpoint()}
    found = ledger.verify(whole.keys, known=known, signatures=signatures)
    assert (found.ok, found.first_bad) == (False, "checkpoint mirror 2003")
    assert "forked" in (found.reason or "")


@pytest.mark.rule("AUD-6")
def test_a_checkpoint_from_elsewhere_that_is_none_is_named(
    ledger: Ledger, whole: Generated
) -> None:
    note = ledger.signed_checkpoint()
    for bad in (b"", note[:-1], note.replace(b"\n2000\n", b"\n1999\n"), bytes(5000)):
        found = ledger.verify(whole.keys, known={"file": bad}, signatures=False)
        assert (found.ok, found.first_bad) == (False, "checkpoint file")
