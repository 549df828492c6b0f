"""An envelope opens in exactly one encoding, with a named key."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from helpers_audit import keys_of, look, new_signer, stage_run
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from audit import envelope
from audit.canonical import canonical_json
from audit.envelope import open_envelope, read_statement, sign
from audit.errors import Refused

SIGNER = new_signer()
KEYS = keys_of(SIGNER)
KINDS = [
    pytest.param(stage_run(1), id="stage"),
    pytest.param(stage_run(2, gate={"checks": []}, unit=""), id="merge"),
    pytest.param(stage_run(3, status="recovered", measured={}), id="recovered"),
    pytest.param(look(), id="event"),
]


@pytest.mark.parametrize("statement", KINDS)
def test_what_was_signed_opens(statement: dict[str, Any]) -> None:
    raw = sign(statement, SIGNER)
    assert open_envelope(raw, KEYS) == statement == read_statement(raw)
    assert sign(statement, SIGNER) == raw


@pytest.mark.rule("ENV-2")
@pytest.mark.parametrize("statement", KINDS)
def test_every_single_bit_change_is_refused(statement: dict[str, Any]) -> None:
    raw = sign(statement, SIGNER)
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused):
            open_envelope(bytes(changed), KEYS)


@pytest.mark.rule("ENV-2")
@given(st.data())
def test_every_cut_insertion_and_deletion_is_refused(data: st.DataObject) -> None:
    raw = sign(look(), SIGNER)
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    changed = raw[:start] + data.draw(st.binary(max_size=8)) + raw[end:]
    if changed != raw:
        with pytest.raises(Refused):
            open_envelope(changed, KEYS)


def _edited(**changes: Any) -> bytes:
    return canonical_json(json.loads(sign(look(), SIGNER)) | changes)


def _slack(text: str) -> str:
    """The same bytes in base64 whose unused bits are not zero."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip("=")
    assert body != text
    other = body[:-1] + alphabet[alphabet.index(body[-1]) + 1] + text[len(body) :]
    assert base64.b64decode(other) == base64.b64decode(text)
    return other


ENVELOPE = json.loads(sign(look(), SIGNER))
SIGNATURE = ENVELOPE["signatures"][0]


@pytest.mark.rule("ENV-2")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(json.dumps(ENVELOPE).encode(), id="white space"),
        pytest.param(sign(look(), SIGNER) + b"\n", id="white space at the end"),
        pytest.param(canonical_json(dict(ENVELOPE)).replace(b'"pay', b'"\\u0070ay'), id="escape"),
        pytest.param(
            json.dumps(dict(reversed(ENVELOPE.items())), separators=(",", ":")).encode(),
            id="key order",
        ),
        pytest.param(_edited(more=1), id="extra field"),
        pytest.param(_edited(signatures=[SIGNATURE | {"more": 1}]), id="extra signature field"),
        pytest.param(_edited(signatures=[SIGNATURE, SIGNATURE]), id="signature twice"),
        pytest.param(
            _edited(signatures=[SIGNATURE, SIGNATURE | {"keyid": "0" * 64}]), id="two signatures"
        ),
        pytest.param(_edited(signatures=[]), id="no signature"),
        pytest.param(
            _edited(signatures=[SIGNATURE | {"sig": _slack(SIGNATURE["sig"])}]), id="slack bits"
        ),
        pytest.param(
            _edited(
                signatures=[
                    SIGNATURE
                    | {"sig": SIGNATURE["sig"].replace("+", "-").replace("/", "_").rstrip("=")}
                ]
            ),
            id="padding",
        ),
        pytest.param(_edited(payloadType="application/json"), id="payload type"),
        pytest.param(_edited(signatures=SIGNATURE), id="signatures no list"),
        pytest.param(_edited(signatures=[1]), id="signature no object"),
        pytest.param(_edited(signatures=[SIGNATURE | {"keyid": 1}]), id="key id no string"),
        pytest.param(_edited(signatures=[SIGNATURE | {"sig": ""}]), id="empty signature"),
        pytest.param(_edited(signatures=[SIGNATURE | {"sig": "AAAA"}]), id="short signature"),
        pytest.param(_edited(payload=1), id="payload no string"),
        pytest.param(b"[" * 200_000, id="depth"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff", id="no text"),
    ],
)
def test_any_other_encoding_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        open_envelope(raw, KEYS)


@pytest.mark.rule("ENV-2")
def test_a_payload_in_base64_with_slack_bits_is_refused_even_where_it_decodes_alike() -> None:
    for spaces in range(3):
        raw = sign(stage_run(findings={"text": "x" * spaces}), SIGNER)
        payload = json.loads(raw)["payload"]
        if payload.endswith("="):
            changed = canonical_json(json.loads(raw) | {"payload": _slack(payload)})
            with pytest.raises(Refused, match="not canonical"):
                open_envelope(changed, KEYS)


@pytest.mark.rule("ENV-2")
def test_a_signature_with_the_group_order_added_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = base64.b64decode(SIGNATURE["sig"])
    scalar = int.from_bytes(signature[32:], "little") + order
    malleable = base64.b64encode(signature[:32] + scalar.to_bytes(32, "little")).decode()
    with pytest.raises(Refused, match="signature"):
        open_envelope(_edited(signatures=[SIGNATURE | {"sig": malleable}]), KEYS)


@pytest.mark.rule("ENV-3")
def test_a_foreign_key_is_refused_under_its_own_and_under_a_borrowed_id() -> None:
    stranger = new_signer()
    raw = sign(look(), stranger)
    with pytest.raises(Refused, match="unknown key"):
        open_envelope(raw, KEYS)
    borrowed = raw.replace(stranger.public_key.keyid.encode(), SIGNER.public_key.keyid.encode())
    with pytest.raises(Refused, match="does not hold"):
        open_envelope(borrowed, KEYS)


def test_a_signed_payload_that_is_no_canonical_statement_is_refused() -> None:
    for payload in (b"{}", b"[]", b"x", canonical_json(look()) + b" ", b'{"a":1,"a":1}'):
        wrapped = Envelope(payload, envelope.PAYLOAD_TYPE, {})
        wrapped.sign(SIGNER)
        with pytest.raises(Refused, match="payload"):
            open_envelope(canonical_json(wrapped.to_dict()), KEYS)


def test_a_record_over_the_size_limit_is_neither_written_nor_read() -> None:
    big = look() | {"predicate": {"text": "x" * envelope.LIMIT_BYTES}}
    with pytest.raises(ValueError, match="limit"):
        sign(big, SIGNER)
    with pytest.raises(Refused, match="limit"):
        open_envelope(b"x" * (envelope.LIMIT_BYTES + 1), KEYS)


def test_the_signature_is_plain_ed25519_over_the_pre_authentication_encoding() -> None:
    payload = base64.b64decode(ENVELOPE["payload"])
    pae = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    public = bytes.fromhex(SIGNER.public_key.keyval["public"])
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(SIGNATURE["sig"]), pae)
