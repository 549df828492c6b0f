"""One file that proves records of a ledger, offline, to whom trusts one key.

    {"checkpoint": "<signed note>",
     "format": "urn:kette:proof:v1",
     "records": [{"envelope": "<DSSE>", "index": 0, "path": ["<SHA-256>", …]}, …]}

Rules:

- PRF-1  The file is canonical JSON with these fields and no other; indexes rise.
- PRF-2  Each envelope's hash leads along its path (RFC 6962 inclusion proof) to the checkpoint's
         root, from the index and in the ledger that its statement names.
- PRF-3  All key events below each record stand in the proof: a record names the newest before it.
         So a key that was revoked before a record signed none.
- PRF-4  The checkpoint's key is in force behind the last key event; it or the key of record 0 is
         one of the verifier's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from securesystemslib.signer import Key

from audit.bad import Bad
from audit.canonical import canonical_json
from audit.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from audit.end import state_at
from audit.envelope import keyid_of
from audit.errors import Refused, WrongUse
from audit.keyring import Keyring
from audit.merkle import inclusion_proof, leaf_hash, root_of_inclusion
from audit.place import place_of
from audit.record import Record
from audit.tiles import Tiles

if TYPE_CHECKING:
    from audit.ledger import Ledger

FORMAT = "urn:kette:proof:v1"
LIMIT_BYTES = 2**28
"""The largest proof that is written or read."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "Run `kette audit verify`, then restore the ledger from its mirror or a backup."


def prove(ledger: Ledger, indexes: Sequence[int], keys: Mapping[str, Key] | None = None) -> bytes:
    """The proof of some records; `check(prove(ledger, indexes), keys)` gives them back.

    Args:
        ledger: the ledger, with a checkpoint over all of `indexes`.
        indexes: one or more.
        keys: key id → public key that the proof must hold by; None: the ledger's own word.

    Raises:
        WrongUse: if an index is not below the checkpoint, or the proof would be too large.
        Refused: if the ledger does not hold.
    """
    # Only here: where a proof is checked, there may be no file locks (Windows).
    from audit import durable, layout

    with durable.shared(ledger.folder / layout.LOCK):
        note = ledger.signed_checkpoint()
        checkpoint = read_checkpoint(note)
        if not indexes or min(indexes) < 0 or max(indexes) >= checkpoint.size:
            raise WrongUse(
                "A record to be proven is not below the ledger's checkpoint.",
                "Sign a checkpoint first.",
            )
        keyring = state_at(ledger.folder, ledger.origin, checkpoint.size).keyring
        wanted = {*indexes, *keyring.events}
        tiles = Tiles(ledger.folder, checkpoint.size)
        records = [
            {
                "index": index,
                "envelope": raw.decode(errors="replace"),
                "path": [h.hex() for h in inclusion_proof(index, checkpoint.size, tiles.node)],
            }
            for index, raw in ledger.envelopes(wanted)
        ]
    proof = canonical_json(
        {"format": FORMAT, "checkpoint": note.decode(errors="replace"), "records": records}
    )
    if len(proof) > LIMIT_BYTES:
        raise WrongUse("The proof would be too large.", "Prove fewer records at once.")
    # A damaged ledger proves nothing: the proof must hold.
    check(proof, keyring.in_force(1) if keys is None else keys)
    return proof


def check(raw: bytes, keys: Mapping[str, Key]) -> list[Record]:
    """Verify a proof.

    Args:
        raw: the file, from an untrusted source.
        keys: key id → public key that the verifier trusts.

    Returns:
        The records that it proves, key events among them, in order.

    Raises:
        Bad: for the first thing that does not hold: `proof`, `record <index>` or `checkpoint`.
    """
    # 1. The file has one encoding (PRF-1).
    note, entries = _parse(raw)
    checkpoint = _claimed(note)
    if not entries:
        raise Bad("proof", "It proves no record.")
    # 2. Each record stands in the checkpoint's tree, signed by a key that may (PRF-2, PRF-3).
    keyring, records = Keyring(keys), list[Record]()
    for index, envelope, path in entries:
        if records and index <= records[-1].index:
            raise Bad(f"record {index}", "It is out of order.")
        try:
            records.append(_record(index, envelope, path, checkpoint, keyring))
        except Refused as error:
            raise Bad(f"record {index}", error.what) from error
    # 3. The checkpoint is trusted (PRF-4).
    try:
        open_checkpoint(note, checkpoint.origin, keyring.checkpoint_keys(checkpoint.size))
    except Refused as error:
        raise Bad("checkpoint", error.what) from error
    return records


def _parse(raw: bytes) -> tuple[bytes, list[tuple[int, bytes, list[bytes]]]]:
    """The note, and index, envelope and path of each record."""
    if len(raw) > LIMIT_BYTES:
        raise Bad("proof", "It is over the size limit.")
    try:
        proof = json.loads(raw)
        if canonical_json(proof) == raw:
            match proof:
                case {"format": str(form), "checkpoint": str(note), "records": [*items], **rest}:
                    if form == FORMAT and not rest:
                        return note.encode(), [_entry(item) for item in items]
    except (RecursionError, ValueError):
        pass  # said below
    raise Bad("proof", "It is no proof in its one encoding.")


def _entry(item: Any) -> tuple[int, bytes, list[bytes]]:
    match item:
        case {"index": int(index), "envelope": str(envelope), "path": [*path], **rest} if not rest:
            if all(isinstance(step, str) and _SHA256.fullmatch(step) for step in path):
                return index, envelope.encode(), [bytes.fromhex(step) for step in path]
    raise ValueError("not an entry of a proof")


def _claimed(note: bytes) -> Checkpoint:
    try:
        return read_checkpoint(note)
    except Refused as error:
        raise Bad("checkpoint", error.what) from error


def _record(
    index: int, envelope: bytes, path: list[bytes], checkpoint: Checkpoint, keyring: Keyring
) -> Record:
    root = root_of_inclusion(leaf_hash(envelope), index, checkpoint.size, path)
    if root != checkpoint.root:
        raise Refused("It does not stand in the checkpoint's tree at this place.", _REMEDY)
    statement = keyring.open(envelope)
    place = place_of(statement)
    if (place.origin, place.index) != (checkpoint.origin, index):
        raise Refused("It was signed for another place.", _REMEDY)
    keyring.admit(index, keyid_of(envelope), statement)
    return Record(index, statement)
