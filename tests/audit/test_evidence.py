"""A release's evidence verifies with a public key alone, and no byte of it can change."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_audit import ORIGIN, files_of, keys_of, look, new_signer, put, sha, stage_run

from audit import evidence
from audit.canonical import canonical_json
from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.envelope import sign
from audit.errors import Refused, WrongUse
from audit.keys import public_pem
from audit.layout import batch_path
from audit.ledger import Ledger
from audit.place import placed

SIGNER = new_signer()
KEYS = keys_of(SIGNER)
BUNDLE = sha(500)
GATE = {"checks": [{"rule": "PKG-1", "verdict": "passed"}]}

CHAIN: list[dict[str, Any]] = [  # record 0 enrolls the key
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
Json = dict[str, Any]


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
    assert check(moved) == evidence.EvidenceCheck(ok=True, records=5)


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


def _proof(change: Callable[[Json], object]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        path = folder / evidence.PROOF
        proof = json.loads(path.read_bytes())
        change(proof)
        path.write_bytes(canonical_json(proof))

    return tamper


def _records(change: Callable[[list[Json]], list[Json]]) -> Callable[[Path], None]:
    return _proof(lambda proof: proof.update(records=change(proof["records"])))


def _forged(proof: Json) -> None:
    """A record that the key signed, but that the ledger never held."""
    statement = CHAIN[2] | {"subject": [{"name": "ingest", "digest": {"sha256": sha(2)}}] * 2}
    proof["records"][2]["envelope"] = sign(placed(statement, put(3)), SIGNER).decode()


def _another_origin(proof: Json) -> None:
    root = open_checkpoint(proof["checkpoint"].encode(), ORIGIN, KEYS).root
    note = sign_checkpoint(Checkpoint("kette/other", 6, root), SIGNER)
    proof["checkpoint"] = note.decode()


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        pytest.param(_records(lambda rs: rs[1:]), "record 1", id="enrolment left out"),
        pytest.param(_records(lambda rs: [rs[0], *rs[2:]]), "record 3", id="first left out"),
        pytest.param(_records(lambda rs: [*rs[:2], *rs[3:]]), "record 4", id="middle left out"),
        pytest.param(_records(lambda rs: rs[:4]), "bundle", id="last left out"),
        pytest.param(_records(lambda rs: rs[::-1]), "record 5", id="reversed"),
        pytest.param(_records(lambda rs: [rs[0], *rs]), "record 0", id="doubled"),
        pytest.param(_records(lambda rs: []), "proof", id="emptied"),
        pytest.param(
            _records(lambda rs: [*rs[:4], rs[4] | {"path": rs[4]["path"][1:]}]),
            "record 5",
            id="path cut",
        ),
        pytest.param(
            _records(lambda rs: [*rs[:4], rs[4] | {"path": [*rs[4]["path"], sha(0)]}]),
            "record 5",
            id="path longer",
        ),
        pytest.param(_records(lambda rs: [rs[0], rs[1] | {"more": 1}]), "proof", id="extra field"),
        pytest.param(_proof(lambda proof: proof.update(more=1)), "proof", id="extra part"),
        pytest.param(_proof(lambda proof: proof.update(format="x")), "proof", id="other format"),
        pytest.param(_proof(_forged), "record 3", id="not in the ledger"),
        pytest.param(_proof(_another_origin), "record 0", id="another ledger"),
        pytest.param(
            lambda folder: (folder / evidence.PROOF).write_bytes(b""), "proof", id="emptied file"
        ),
        pytest.param(
            lambda folder: (folder / evidence.PROOF).write_bytes(b"[" * 100_000),
            "proof",
            id="depth",
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
            for name in ("proof.json", "signer.pub")
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
    folder = make(tmp_path, [*CHAIN[:2], refused, *CHAIN[3:]])
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
    lines[3] = sign(placed(stage_run(6), put(3)), SIGNER) + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(Refused, match="Record 3 does not hold"):
        evidence.export(ledger, INDEXES, tmp_path / "new", tmp_path / "signer.pub")


def test_a_key_that_the_checkpoint_does_not_lead_to_is_no_evidence(
    tmp_path: Path, exported: Path
) -> None:
    (tmp_path / "other.pub").write_bytes(public_pem(new_signer().public_key))
    with pytest.raises(Refused, match="Checkpoint does not hold"):
        evidence.export(
            Ledger(tmp_path / "ledger", ORIGIN), INDEXES, tmp_path / "new", tmp_path / "other.pub"
        )
    assert not (tmp_path / "new").exists()
