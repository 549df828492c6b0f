"""A release's evidence verifies with a public key alone, and no byte of it can change."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_audit import ORIGIN, files_of, keys_of, look, new_signer, sha, stage_run

from audit import evidence
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.envelope import sign
from audit.errors import Refused, WrongUse
from audit.keys import public_pem
from audit.layout import batch_path
from audit.ledger import Ledger
from audit.merkle import Tree, leaf_hash
from audit.place import placed

SIGNER = new_signer()
KEYS = keys_of(SIGNER)
BUNDLE = sha(500)
GATE = {"checks": [{"rule": "PKG-1", "verdict": "passed"}]}

CHAIN: list[dict[str, Any]] = [
    look(),
    stage_run(
        subjects=[("ingest/s-1", sha(1))], stage="ingest", unit="s-1", inputs={"source/1": sha(99)}
    ),
    stage_run(5),  # another candidate's
    stage_run(
        subjects=[("ingest", sha(2))],
        stage="ingest",
        unit="",
        inputs={"ingest/s-1": sha(1)},
        gate=GATE,
    ),
    stage_run(
        subjects=[("package/bundle", sha(3)), ("package/bundle/x.zip", BUNDLE)],
        stage="package",
        unit="bundle",
        inputs={"ingest": sha(2)},
    ),
    stage_run(
        subjects=[("package", sha(4))],
        stage="package",
        unit="",
        inputs={"package/bundle": sha(3)},
        gate=GATE,
    ),
]
INDEXES = [1, 3, 4, 5]


def make(folder: Path, chain: list[dict[str, Any]], indexes: list[int] = INDEXES) -> Path:
    ledger = Ledger(folder / "ledger", ORIGIN)
    ledger.append(chain, SIGNER)
    ledger.checkpoint(SIGNER)
    ledger.append(look(9), SIGNER)
    (folder / "signer.pub").write_bytes(public_pem(SIGNER.public_key))
    evidence.export(ledger, indexes, folder / "evidence", folder / "signer.pub")
    return folder / "evidence"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return make(tmp_path, CHAIN)


def check(folder: Path, bundle: str = BUNDLE) -> evidence.EvidenceCheck:
    return evidence.verify(folder, KEYS, bundle_sha256=bundle)


def test_what_was_exported_verifies_away_from_the_ledger(exported: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "ledger")
    moved = exported.rename(tmp_path / "elsewhere")
    assert check(moved) == evidence.EvidenceCheck(ok=True, records=4)


@pytest.mark.rule("EVD-1")
@pytest.mark.rule("EVD-2")
@pytest.mark.rule("EVD-5")
def test_a_changed_bit_anywhere_is_found(exported: Path) -> None:
    for path in files_of(exported):
        whole = path.read_bytes()
        ends = {8 * i + bit for i, byte in enumerate(whole) if byte == 10 for bit in range(8)}
        bits = range(0, 8 * len(whole), 307 if len(whole) > 500 else 1)
        for bit in sorted(ends | set(bits)):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            found = check(exported)
            assert not found.ok
            assert found.first_bad
        path.write_bytes(whole)
    assert check(exported).ok


@pytest.mark.rule("EVD-3")
def test_another_archive_is_not_the_chains(exported: Path) -> None:
    assert check(exported, sha(501)).first_bad == "bundle"
    assert check(exported, sha(1)).first_bad == "bundle"  # a subject, but of another stage


def _lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        path = folder / evidence.RECORDS
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return tamper


def _forged(folder: Path) -> None:
    """A record that the key signed, but that the ledger never held."""
    lines = (folder / evidence.RECORDS).read_bytes().splitlines(keepends=True)
    statement = CHAIN[3] | {"subject": [{"name": "ingest", "digest": {"sha256": sha(2)}}] * 2}
    lines[1] = sign(placed(statement, ORIGIN, 3), SIGNER) + b"\n"
    (folder / evidence.RECORDS).write_bytes(b"".join(lines))


def _another_origin(folder: Path) -> None:
    tree = Tree()
    data = (folder / evidence.LEAVES).read_bytes()
    for start in range(0, len(data), 32):
        tree.append(data[start : start + 32])
    note = sign_checkpoint(Checkpoint("kette/other", tree.size, tree.root()), SIGNER)
    (folder / evidence.CHECKPOINT).write_bytes(note)


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        pytest.param(_lines(lambda lines: lines[1:]), "record 3", id="first left out"),
        pytest.param(
            _lines(lambda lines: [lines[0], *lines[2:]]), "record 4", id="middle left out"
        ),
        pytest.param(_lines(lambda lines: lines[:3]), "bundle", id="last left out"),
        pytest.param(_lines(lambda lines: lines[::-1]), "record 4", id="reversed"),
        pytest.param(_lines(lambda lines: [lines[0], *lines]), "record 1", id="doubled"),
        pytest.param(_lines(lambda lines: []), "bundle", id="emptied"),
        pytest.param(
            _lines(lambda lines: [*lines, b"x" * 5_000_000]), "record after 5", id="long line"
        ),
        pytest.param(_forged, "record 3", id="not in the ledger"),
        pytest.param(_another_origin, "record after -1", id="another ledger"),
        pytest.param(
            lambda folder: (folder / evidence.LEAVES).write_bytes(b""), "file leaves.bin", id="cut"
        ),
        pytest.param(lambda folder: (folder / "x").touch(), "file x", id="stray file"),
        pytest.param(lambda folder: (folder / "x").mkdir(), "file x", id="stray folder"),
        pytest.param(
            lambda folder: (folder / evidence.PUBLIC).write_bytes(
                public_pem(new_signer().public_key)
            ),
            "file signer.pub",
            id="other key beside",
        ),
        *(
            pytest.param(
                lambda folder, name=name: (folder / name).unlink(), f"file {name}", id=f"no {name}"
            )
            for name in ("records.jsonl", "leaves.bin", "checkpoint", "signer.pub")
        ),
    ],
)
def test_tampering_is_found_and_named(
    exported: Path, tamper: Callable[[Path], None], named: str
) -> None:
    tamper(exported)
    found = check(exported)
    assert (found.ok, found.first_bad) == (False, named)
    assert found.reason


@pytest.mark.rule("EVD-1")
def test_a_stranger_cannot_verify_it_with_his_own_key(exported: Path) -> None:
    found = evidence.verify(exported, keys_of(new_signer()), bundle_sha256=BUNDLE)
    assert found.first_bad == "file signer.pub"
    assert not evidence.verify(exported, {}, bundle_sha256=BUNDLE).ok


def test_a_folder_that_is_not_there_does_not_verify(tmp_path: Path) -> None:
    assert not check(tmp_path / "none").ok


@pytest.mark.rule("EVD-4")
@pytest.mark.parametrize("missing", [1, 3, 5])
def test_evidence_that_leaves_a_link_of_the_chain_out_does_not_verify(
    tmp_path: Path, missing: int
) -> None:
    folder = make(tmp_path, CHAIN, [index for index in INDEXES if index != missing])
    assert not check(folder).ok


@pytest.mark.rule("EVD-4")
def test_evidence_of_a_refused_gate_does_not_verify(tmp_path: Path) -> None:
    gate = {"checks": [*GATE["checks"], {"rule": "ING-9", "verdict": "refused"}]}
    refused = stage_run(
        subjects=[("ingest", sha(2))],
        stage="ingest",
        unit="",
        inputs={"ingest/s-1": sha(1)},
        gate=gate,
    )
    folder = make(tmp_path, [*CHAIN[:3], refused, *CHAIN[4:]])
    found = check(folder)
    assert (found.first_bad, found.reason) == ("record 3", "Its gate refused.")


def test_what_no_checkpoint_covers_is_not_exported(tmp_path: Path, exported: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    for indexes in ([6], [-1], []):
        with pytest.raises(WrongUse, match="checkpoint"):
            evidence.export(ledger, indexes, tmp_path / "new", tmp_path / "signer.pub")
    with pytest.raises(WrongUse, match="not empty"):
        evidence.export(ledger, INDEXES, exported, tmp_path / "signer.pub")


def test_a_ledger_that_does_not_hold_is_not_exported(tmp_path: Path, exported: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    path = batch_path(ledger.folder, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = sign(placed(stage_run(6), ORIGIN, 2), SIGNER) + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(Refused, match="not those of its checkpoint"):
        evidence.export(ledger, INDEXES, tmp_path / "new", tmp_path / "signer.pub")


def test_the_leaves_are_the_hashes_of_the_ledgers_envelopes(tmp_path: Path, exported: Path) -> None:
    raws = [raw for _, raw in Ledger(tmp_path / "ledger", ORIGIN).read()][:6]
    assert (exported / evidence.LEAVES).read_bytes() == b"".join(map(leaf_hash, raws))
