"""A checkpoint opens in one encoding, with its own ledger's key."""

import base64
import hashlib

import pytest
from helpers_audit import ORIGIN, keys_of, new_signer
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, SSlibKey

from audit.checkpoint import Checkpoint, key_hash, open_checkpoint, origin_of, sign_checkpoint
from audit.errors import Refused, WrongUse

SIGNER = new_signer()
KEYS = keys_of(SIGNER)
CHECKPOINT = Checkpoint(ORIGIN, 40, hashlib.sha256(b"root").digest())
NOTE = sign_checkpoint(CHECKPOINT, SIGNER)


@given(
    st.from_regex(r"[!-*,-~]{1,200}", fullmatch=True),
    st.integers(0, 10**18 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_what_was_signed_opens(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    raw = sign_checkpoint(checkpoint, SIGNER)
    assert open_checkpoint(raw, origin, KEYS) == checkpoint
    assert origin_of(raw) == origin


@pytest.mark.rule("CHK-1")
def test_every_single_bit_change_is_refused() -> None:
    for bit in range(8 * len(NOTE)):
        changed = bytearray(NOTE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused):
            open_checkpoint(bytes(changed), ORIGIN, KEYS)


@pytest.mark.rule("CHK-1")
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        NOTE + b"\n",
        NOTE[:-1],
        NOTE + NOTE.splitlines(keepends=True)[-1],
        NOTE.replace(b"\n40\n", b"\n040\n"),
        NOTE.replace(b"\n40\n", b"\n+40\n"),
        NOTE.replace(b"\n40\n", "\n٤٠\n".encode()),
        NOTE.replace(b"\n\n", b"\nextension\n\n"),
        NOTE.replace(b"\n", b"\r\n"),
        NOTE + b"x" * 10_000,
    ],
)
def test_any_other_encoding_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        open_checkpoint(raw, ORIGIN, KEYS)


@pytest.mark.rule("CHK-1")
def test_base64_with_slack_bits_is_refused_though_it_decodes_alike() -> None:
    root = NOTE.splitlines()[2].decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = root[:-2] + alphabet[alphabet.index(root[-2]) + 1] + "="
    assert base64.b64decode(other) == base64.b64decode(root)
    with pytest.raises(Refused, match="canonical"):
        open_checkpoint(NOTE.replace(root.encode(), other.encode()), ORIGIN, KEYS)


@pytest.mark.rule("CHK-2")
def test_a_note_of_another_ledger_or_key_is_refused() -> None:
    other = sign_checkpoint(Checkpoint("kette/other", 40, CHECKPOINT.root), SIGNER)
    with pytest.raises(Refused, match="another ledger"):
        open_checkpoint(other, ORIGIN, KEYS)
    with pytest.raises(Refused, match="unknown key"):
        open_checkpoint(NOTE, ORIGIN, keys_of(new_signer()))


@pytest.mark.rule("CHK-2")
def test_the_key_hash_is_the_one_that_c2sp_publishes_for_its_example_key() -> None:
    # The verifier key of the signed-note specification: name, hash and type with key.
    name, hint = "example.com/foo", "530d903a"
    raw = base64.b64decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    key = SSlibKey("id", "ed25519", "ed25519", {"public": raw[1:].hex()})
    assert key_hash(name, key).hex() == hint


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "ä"])
def test_an_origin_that_a_note_does_not_allow_is_refused(origin: str) -> None:
    with pytest.raises(WrongUse):
        sign_checkpoint(Checkpoint(origin, 0, bytes(32)), SIGNER)


@pytest.mark.rule("CHK-3")
def test_a_note_signed_with_ecdsa_opens_and_no_changed_bit_does() -> None:
    signer = CryptoSigner.generate_ecdsa()
    note = sign_checkpoint(CHECKPOINT, signer)
    assert open_checkpoint(note, ORIGIN, KEYS | keys_of(signer)) == CHECKPOINT
    for bit in range(8 * len(note)):
        changed = bytearray(note)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused):
            open_checkpoint(bytes(changed), ORIGIN, keys_of(signer))


@pytest.mark.rule("CHK-3")
def test_the_hash_of_an_ecdsa_key_is_of_its_der_alone_as_c2sp_says() -> None:
    public = CryptoSigner.generate_ecdsa().public_key
    body = "".join(public.keyval["public"].splitlines()[1:-1])
    assert key_hash(ORIGIN, public) == hashlib.sha256(base64.b64decode(body)).digest()[:4]


def test_a_key_of_another_type_cannot_sign_a_checkpoint() -> None:
    with pytest.raises(WrongUse, match="Ed25519 or ECDSA P-256"):
        sign_checkpoint(CHECKPOINT, CryptoSigner.generate_rsa())
