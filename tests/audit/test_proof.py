"""A proof holds offline, for one who trusts one key; nothing can be changed or left out of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers_audit import EPOCH, ORIGIN, keys_of, look, new_ledger, new_signer, put, stage_run
from helpers_generated import Generated, generate

from audit.bad import Bad
from audit.canonical import canonical_json
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.envelope import sign
from audit.errors import Refused, WrongUse
from audit.key_events import ROLES, enrolled, revoked
from audit.layout import batch_path
from audit.ledger import Ledger
from audit.merkle import Tree, leaf_hash
from audit.place import placed
from audit.proof import check, prove

SIGNER = new_signer()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    return generate(tmp_path_factory.mktemp("proof") / "ledger", 600)


def test_a_proof_gives_the_records_and_all_key_events_below_the_checkpoint(made: Generated) -> None:
    statements = dict(made.ledger.records())
    for wanted in ([1], [0], [599], [300, 2, 300, 511]):
        records = check(prove(made.ledger, wanted), made.keys)
        assert [record.index for record in records] == sorted({*wanted, 0, 5, 8})
        assert all(record.statement == statements[record.index] for record in records)


@pytest.mark.rule("PRF-4")
def test_it_holds_for_the_first_keys_owner_and_the_checkpoints_alone(made: Generated) -> None:
    proof = prove(made.ledger, [300])
    for keys in (keys_of(made.first), keys_of(made.second), keys_of(made.first, made.second)):
        assert len(check(proof, keys)) == 4
    for keys in ({}, keys_of(new_signer())):
        with pytest.raises(Bad, match="unknown key") as found:
            check(proof, keys)
        assert found.value.where == "checkpoint"


@pytest.mark.rule("PRF-1")
@pytest.mark.rule("PRF-2")
def test_a_changed_bit_anywhere_is_found(made: Generated) -> None:
    proof = prove(made.ledger, [300])
    for bit in range(0, 8 * len(proof), 211):
        changed = bytearray(proof)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Bad):
            check(bytes(changed), made.keys)


@pytest.mark.slow
@pytest.mark.rule("PRF-1")
@pytest.mark.rule("PRF-2")
def test_every_single_bit_change_is_found(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", SIGNER)
    proof = prove(ledger, [3])
    for bit in range(8 * len(proof)):
        changed = bytearray(proof)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Bad):
            check(bytes(changed), keys_of(SIGNER))


@pytest.mark.rule("PRF-3")
@pytest.mark.parametrize(
    ("left_out", "named"), [(0, "record 1"), (5, "record 8"), (8, "record 300")]
)
def test_a_key_event_cannot_be_left_out(made: Generated, left_out: int, named: str) -> None:
    proof = json.loads(prove(made.ledger, [1, 300]))
    proof["records"] = [entry for entry in proof["records"] if entry["index"] != left_out]
    with pytest.raises(Bad) as found:
        check(canonical_json(proof), made.keys)
    assert found.value.where == named


@pytest.mark.rule("PRF-3")
def test_a_record_signed_after_its_keys_revocation_has_no_proof(tmp_path: Path) -> None:
    """Its owner puts it in the tree and signs the checkpoint himself: the records tell."""
    second = new_signer()
    statements = [
        (placed(enrolled(SIGNER.public_key, ROLES, "a", EPOCH), put(0, None)), SIGNER),
        (placed(enrolled(second.public_key, ROLES, "b", EPOCH), put(1, 0)), SIGNER),
        (placed(revoked(SIGNER.public_key.keyid, "stolen", EPOCH), put(2, 1)), second),
        (placed(look(), put(3, 2)), SIGNER),
    ]
    raws = [sign(statement, signer) for statement, signer in statements]
    leaves = [leaf_hash(raw) for raw in raws]
    tree = tree_of(leaves)
    right, left = tree_of(leaves[2:]).root(), tree_of(leaves[:2]).root()
    paths = [[leaves[1], right], [leaves[0], right], [leaves[3], left], [leaves[2], left]]
    for signer in (SIGNER, second):
        proof: dict[str, Any] = {
            "format": "urn:kette:proof:v1",
            "checkpoint": sign_checkpoint(Checkpoint(ORIGIN, 4, tree.root()), signer).decode(),
            "records": [
                {"index": i, "envelope": raw.decode(), "path": [h.hex() for h in path]}
                for i, (raw, path) in enumerate(zip(raws, paths, strict=True))
            ],
        }
        with pytest.raises(Bad, match="revoked by record 2") as found:
            check(canonical_json(proof), keys_of(SIGNER, second))
        assert found.value.where == "record 3"
        del proof["records"][3]
        if signer is second:
            assert len(check(canonical_json(proof), keys_of(SIGNER))) == 3
        else:
            with pytest.raises(Bad, match="unknown key"):
                check(canonical_json(proof), keys_of(SIGNER))


@pytest.mark.rule("PRF-1")
@pytest.mark.parametrize(
    "change",
    [
        {"records": []},
        {"records": {}},
        {"records": [1]},
        {"format": "urn:kette:proof:v2"},
        {"checkpoint": None},
        {"more": 1},
    ],
)
def test_any_other_form_is_refused(made: Generated, change: dict[str, Any]) -> None:
    proof = json.loads(prove(made.ledger, [1])) | change
    with pytest.raises(Bad) as found:
        check(canonical_json(proof), made.keys)
    assert found.value.where == "proof"


@pytest.mark.rule("PRF-1")
def test_hashes_are_written_in_one_way(made: Generated) -> None:
    proof = json.loads(prove(made.ledger, [1]))
    step = proof["records"][0]["path"][0]
    for other in (step.upper(), f" {step}", step[:-2], f"{step}00", 5):
        proof["records"][0]["path"][0] = other
        with pytest.raises(Bad):
            check(canonical_json(proof), made.keys)


def test_only_what_a_checkpoint_covers_is_proven(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", SIGNER)
    ledger.append(look(), SIGNER)
    for indexes in ([6], [-1], [], [0, 6]):
        with pytest.raises(WrongUse, match="checkpoint"):
            prove(ledger, indexes)
    with pytest.raises(Refused, match="no checkpoint"):
        prove(Ledger(tmp_path / "none", ORIGIN), [0])


def test_a_damaged_ledger_proves_nothing(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger", SIGNER)
    path = batch_path(ledger.folder, 3)
    whole = path.read_bytes()
    path.write_bytes(sign(placed(stage_run(9), put(3)), SIGNER) + b"\n")
    with pytest.raises(Refused, match="Record 3 does not hold"):
        prove(ledger, [3])
    path.write_bytes(whole)
    tile = ledger.folder / "tile/0/000.p/6"
    tile.write_bytes(tile.read_bytes()[:-32] + bytes(32))
    with pytest.raises(Refused, match="does not hold"):
        prove(ledger, [3])
    tile.unlink()
    with pytest.raises(Refused, match="missing"):
        prove(ledger, [3])


def tree_of(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    return tree
