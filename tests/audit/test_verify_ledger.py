"""A verifier written from the format's page alone comes to the same verdicts."""

import importlib.util
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from helpers_audit import files_of, keys_of, look, new_signer, put, sha, stage_run
from helpers_generated import Generated, generate
from securesystemslib.signer import Signer

from audit.bad import Bad
from audit.canonical import canonical_json
from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.envelope import read_statement, sign
from audit.layout import batch_path, read_envelope
from audit.ledger import Ledger
from audit.place import placed
from audit.proof import check, prove
from audit.public_keys import public_pem

PROGRAM = Path(__file__).parents[2] / "docs" / "verify_ledger.py"
SPEC = importlib.util.spec_from_file_location("verify_ledger", PROGRAM)
assert SPEC is not None
assert SPEC.loader is not None
verifier = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(verifier)
FAULTS = (
    AttributeError,
    InvalidSignature,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """Two levels of tiles, two keys, a checkpoint over all but the last two records."""
    made = generate(tmp_path_factory.mktemp("verifier") / "ledger", 300)
    made.ledger.append([look(), look(1)], made.second)
    return made


@pytest.fixture
def ledger(made: Generated, tmp_path: Path) -> Ledger:
    shutil.copytree(made.ledger.folder, tmp_path / "ledger")
    return Ledger(tmp_path / "ledger", made.ledger.origin)


def _holds(verify: Callable[[Any, str], Any], what: Path | bytes, signer: Signer) -> bool:
    anchor, _ = verifier.key_of(public_pem(signer.public_key))
    try:
        verify(what, anchor).finish()
    except FAULTS:
        return False
    return True


def _both(ledger: Ledger, signer: Signer) -> bool:
    """The common verdict on a ledger."""
    ours = ledger.verify(keys_of(signer))
    theirs = _holds(verifier.check_ledger, ledger.folder, signer)
    assert ours.ok == theirs, ours
    return theirs


def _both_on_proof(proof: bytes, signer: Signer) -> bool:
    try:
        ours = bool(check(proof, keys_of(signer)))
    except Bad:
        ours = False
    theirs = _holds(verifier.check_proof, proof, signer)
    assert ours == theirs
    return theirs


def test_it_is_short_and_needs_cryptography_alone() -> None:
    text = PROGRAM.read_text()
    assert len(text.splitlines()) <= 150
    imported = {
        line.split()[1].split(".")[0]
        for line in text.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported - sys.stdlib_module_names == {"cryptography"}


def test_it_runs_as_a_program(made: Generated, tmp_path: Path) -> None:
    (tmp_path / "signer.pub").write_bytes(public_pem(made.first.public_key))
    (tmp_path / "proof.json").write_bytes(proof := prove(made.ledger, [200]))
    (tmp_path / "other.json").write_bytes(proof.replace(b'"index":200', b'"index":201'))
    told = {}
    for what in (made.ledger.folder, tmp_path / "proof.json", tmp_path / "other.json"):
        told[what.name] = subprocess.run(
            [sys.executable, "-I", PROGRAM, tmp_path / "signer.pub", what],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (told["ledger"].returncode, told["ledger"].stdout) == (0, "ok: up to record 301\n")
    assert (told["proof.json"].returncode, told["proof.json"].stdout) == (
        0,
        "ok: up to record 200\n",
    )
    assert told["other.json"].returncode == 1


def test_both_hold_what_is_good_for_the_keys_that_are_trusted(made: Generated) -> None:
    proof = prove(made.ledger, [0, 7, 255, 256])
    for signer, good in ((made.first, True), (made.second, True), (new_signer(), False)):
        assert _both(made.ledger, signer) is good
        assert _both_on_proof(proof, signer) is good


def test_both_find_a_changed_bit_anywhere(ledger: Ledger, made: Generated) -> None:
    chance = random.Random(4)
    for path in files_of(ledger.folder):
        whole = path.read_bytes()
        for _ in range(4 if whole else 0):
            changed = bytearray(whole)
            changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            assert not _both(ledger, made.first)
        path.write_bytes(whole)
    assert _both(ledger, made.first)


def test_both_find_a_changed_bit_of_a_proof(made: Generated) -> None:
    proof = prove(made.ledger, [100])
    for bit in range(0, 8 * len(proof), 401):
        changed = bytearray(proof)
        changed[bit // 8] ^= 1 << bit % 8
        assert not _both_on_proof(bytes(changed), made.first)


def _append(ledger: Ledger, statement: dict[str, Any], signer: Signer, **place: Any) -> None:
    """Put a record behind the last, signed by whomever, for whatever place."""
    raw = sign(placed(statement, put(302, **{"key_record": 8, **place})), signer)
    batch_path(ledger.folder, 302).write_bytes(raw + b"\n")


def _earlier(ledger: Ledger, made: Generated) -> None:
    statement = placed(look(), put(302, key_record=8))
    statement["predicate"]["kette_ledger"]["at"] = "1999-01-01T00:00:00.000000Z"
    batch_path(ledger.folder, 302).write_bytes(sign(statement, made.second) + b"\n")


def _rewritten(ledger: Ledger, made: Generated) -> None:
    path = batch_path(ledger.folder, 10)
    lines = path.read_bytes().splitlines(keepends=True)
    statement = read_statement(lines[3][:-1])
    statement["predicate"]["kette_stage"]["findings"] = {"dice": 1}
    lines[3] = sign(statement, made.second) + b"\n"
    path.write_bytes(b"".join(lines))


def _wrong_root(ledger: Ledger, made: Generated) -> None:
    note = sign_checkpoint(Checkpoint(ledger.origin, 300, bytes(32)), made.second)
    (ledger.folder / "checkpoint").write_bytes(note)


def _by_ended_key(ledger: Ledger, made: Generated) -> None:
    note = ledger.signed_checkpoint()
    again = open_checkpoint(note, ledger.origin, keys_of(made.second))
    (ledger.folder / "checkpoint").write_bytes(sign_checkpoint(again, made.first))


CHANGES: dict[str, tuple[bool, Callable[[Ledger, Generated], object]]] = {
    "good record": (True, lambda ledger, made: _append(ledger, look(), made.second)),
    "ended key": (False, lambda ledger, made: _append(ledger, look(), made.first)),
    "stranger": (False, lambda ledger, made: _append(ledger, look(), new_signer())),
    "key event left out": (
        False,
        lambda ledger, made: _append(ledger, look(), made.second, key_record=5),
    ),
    "another ledger": (
        False,
        lambda ledger, made: _append(ledger, look(), made.second, origin="kette/other"),
    ),
    "time goes back": (False, _earlier),
    "rewritten with the right key": (False, _rewritten),
    "wrong root": (False, _wrong_root),
    "checkpoint of an ended key": (False, _by_ended_key),
    "batch gone": (False, lambda ledger, made: batch_path(ledger.folder, 10).unlink()),
    "first gone": (False, lambda ledger, made: batch_path(ledger.folder, 0).unlink()),
    "end gone": (True, lambda ledger, made: batch_path(ledger.folder, 300).unlink()),
    "batch emptied": (False, lambda ledger, made: batch_path(ledger.folder, 300).write_bytes(b"")),
    "tile gone": (False, lambda ledger, made: (ledger.folder / "tile/0/000").unlink()),
    "partial tile gone": (False, lambda ledger, made: (ledger.folder / "tile/0/001.p/44").unlink()),
    "tile of nothing": (
        False,
        lambda ledger, made: (ledger.folder / "tile/0/001").write_bytes(bytes(8192)),
    ),
    "stray file": (False, lambda ledger, made: (ledger.folder / "x").touch()),
    "lock in use": (False, lambda ledger, made: (ledger.folder / "lock").write_bytes(b"1")),
    "leftover": (True, lambda ledger, made: (ledger.folder / "append.tmp").write_bytes(b"half")),
    "no checkpoint": (False, lambda ledger, made: (ledger.folder / "checkpoint").unlink()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_both_judge_alike(ledger: Ledger, made: Generated, name: str) -> None:
    good, change = CHANGES[name]
    change(ledger, made)
    assert _both(ledger, made.first) is good


PROOFS: dict[str, Callable[[dict[str, Any]], object]] = {
    "key event left out": lambda proof: proof["records"].pop(0),
    "second key event left out": lambda proof: proof["records"].pop(1),
    "reversed": lambda proof: proof["records"].reverse(),
    "doubled": lambda proof: proof["records"].append(proof["records"][-1]),
    "emptied": lambda proof: proof["records"].clear(),
    "path cut": lambda proof: proof["records"][-1]["path"].pop(),
    "path longer": lambda proof: proof["records"][-1]["path"].append(sha(1)),
    "hash in capitals": lambda proof: proof["records"][-1].update(
        path=[step.upper() for step in proof["records"][-1]["path"]]
    ),
    "other index": lambda proof: proof["records"][-1].update(index=101),
    "index behind": lambda proof: proof["records"][-1].update(index=400),
    "extra field": lambda proof: proof.update(more=1),
    "extra field of a record": lambda proof: proof["records"][0].update(more=1),
    "other format": lambda proof: proof.update(format="urn:kette:proof:v2"),
    "no checkpoint": lambda proof: proof.update(checkpoint=""),
}


@pytest.mark.parametrize("name", PROOFS)
def test_both_judge_a_changed_proof_alike(made: Generated, name: str) -> None:
    proof = json.loads(prove(made.ledger, [100]))
    assert _both_on_proof(canonical_json(proof), made.first)
    PROOFS[name](proof)
    assert not _both_on_proof(canonical_json(proof), made.first)


def test_neither_takes_a_record_that_only_looks_alike(ledger: Ledger, made: Generated) -> None:
    """The same envelope in another encoding, behind the checkpoint, where no hash holds it."""
    path = batch_path(ledger.folder, 300)
    one, two = (read_envelope(ledger.folder, index) for index in (300, 301))
    spaced = json.dumps(json.loads(two), sort_keys=True).encode()
    unknown = canonical_json({**json.loads(two), "more": 1})
    twice = json.loads(two)
    twice["signatures"] *= 2
    for other in (spaced, unknown, canonical_json(twice), two + b" ", two.replace(b'"sig', b'"s')):
        path.write_bytes(one + b"\n" + other + b"\n")
        assert not _both(ledger, made.first)
    path.write_bytes(one + b"\n" + sign(placed(stage_run(1), put(301, 8)), made.second) + b"\n")
    assert _both(ledger, made.first)
