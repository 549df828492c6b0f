"""A key signs from a file, the system's keyring or a PKCS#11 token, each verified as its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers_audit import ORIGIN, keys_of, look, new_signer
from securesystemslib.signer import CryptoSigner, Signer

from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.envelope import open_envelope, sign
from audit.errors import Fault, Refused, WrongUse
from audit.keys import load_or_create_signer, load_public, public_pem
from audit.signers import KeyringSigner, new_in_keyring, private_key, signer_at
from audit.slots import Slot, fill

keyring = pytest.importorskip("keyring")
file_backend = pytest.importorskip("keyrings.alt.file")

URI = "keyring:kette/test signer"
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
TOKEN = "hsm:2?label=kette"


@pytest.fixture
def system_keyring(tmp_path: Path) -> Iterator[Path]:
    """The keyring library on a file of its own."""
    backend = file_backend.PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    yield tmp_path / "keyring.cfg"
    keyring.set_keyring(before)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A SoftHSM token with an ECDSA P-256 key under id 2, which never leaves it."""
    pkcs11 = pytest.importorskip("pkcs11")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        patch.setenv("PYKCS11LIB", str(MODULE))
        command = ("softhsm2-util", "--init-token", "--free", "--label", "kette")
        pins = ("--so-pin", "87654321", "--pin", "1234")
        subprocess.run([*command, *pins], check=True, capture_output=True)
        found = pkcs11.lib(str(MODULE)).get_token(token_label="kette")
        with found.open(user_pin="1234", rw=True) as session:
            curve = {
                pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters(
                    "secp256r1"
                )
            }
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
            parameters.generate_keypair(store=True, id=b"\x02", label="kette")
        yield


def _signs(signer: Signer) -> None:
    """Envelopes and notes of this signer open with its public key, and not with another's."""
    keys, other = keys_of(signer), keys_of(new_signer())
    statement = look()
    assert open_envelope(sign(statement, signer), keys) == statement
    checkpoint = Checkpoint(ORIGIN, 1, bytes(32))
    note = sign_checkpoint(checkpoint, signer)
    assert open_checkpoint(note, ORIGIN, keys) == checkpoint
    with pytest.raises(Refused):
        open_checkpoint(note, ORIGIN, other)


@pytest.mark.parametrize(
    "made", [CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa], ids=["ed25519", "p256"]
)
def test_keys_of_both_types_sign_from_a_file(made: type[CryptoSigner], tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.touch(mode=0o600)
    file.write_bytes(made().private_bytes)
    signer = load_or_create_signer(tmp_path / "keys", f"file2:{file}")
    _signs(signer)
    pem = public_pem(signer.public_key)
    assert (tmp_path / "keys" / "signer.pub").read_bytes() == pem
    assert load_public(tmp_path / "keys" / "signer.pub") == signer.public_key


def test_a_key_in_the_keyring_is_made_once_and_signs(system_keyring: Path, tmp_path: Path) -> None:
    signer = load_or_create_signer(tmp_path / "keys", URI)
    again = load_or_create_signer(tmp_path / "keys", URI)
    assert isinstance(again, KeyringSigner)
    assert again.public_key == signer.public_key
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == [".lock", "signer.pub"]
    assert system_keyring.is_file()
    _signs(again)


def test_securesystemslib_itself_finds_the_key_in_the_keyring(system_keyring: Path) -> None:
    key = new_in_keyring(URI).public_key
    key.verify_signature(Signer.from_priv_key_uri(URI, key).sign(b"data"), b"data")
    with pytest.raises(ValueError, match="another"):
        Signer.from_priv_key_uri(URI, new_signer().public_key)


@pytest.mark.rule("SIG-2")
def test_a_key_that_left_the_keyring_is_told_and_no_other_takes_its_place(
    system_keyring: Path, tmp_path: Path
) -> None:
    load_or_create_signer(tmp_path / "keys", URI)
    keyring.delete_password("kette", "test signer")
    with pytest.raises(WrongUse, match="keyring"):
        load_or_create_signer(tmp_path / "keys", URI)
    assert KeyringSigner.stored(URI) is None


@pytest.mark.rule("SIG-2")
def test_another_key_in_the_keyring_is_refused(system_keyring: Path, tmp_path: Path) -> None:
    load_or_create_signer(tmp_path / "keys", URI)
    KeyringSigner.store(URI, CryptoSigner.generate_ed25519().private_bytes.decode())
    with pytest.raises(Refused, match="another key's"):
        load_or_create_signer(tmp_path / "keys", URI)


def test_a_system_without_a_keyring_is_a_fault_that_says_so() -> None:
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        with pytest.raises(Fault, match="keyring"):
            signer_at(URI)
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize("uri", ["keyring:", "keyring:kette", "keyring:/name"])
def test_a_keyring_uri_without_service_or_name_is_a_clear_error(uri: str) -> None:
    with pytest.raises(WrongUse, match="URI"):
        signer_at(uri)


@pytest.mark.peer("softhsm2-util")
def test_a_key_on_a_token_signs_without_leaving_it(
    token: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETTE_PIN", "1234")
    slot = Slot(tmp_path / "keys", "signer")
    signer = fill(slot, TOKEN)
    assert signer.public_key.keytype == "ecdsa"
    assert sorted(path.name for path in slot.folder.iterdir()) == [".lock", "signer.pub"]
    _signs(load_or_create_signer(slot.folder, TOKEN))


@pytest.mark.peer("softhsm2-util")
@pytest.mark.parametrize(("pin", "error"), [(None, WrongUse), ("9999", Fault)])
def test_a_token_without_its_pin_signs_nothing(
    token: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pin: str | None,
    error: type[Exception],
) -> None:
    monkeypatch.setenv("KETTE_PIN", "1234")
    public = fill(Slot(tmp_path, "signer"), TOKEN).public_key
    if pin is None:
        monkeypatch.delenv("KETTE_PIN")
    else:
        monkeypatch.setenv("KETTE_PIN", pin)
    with pytest.raises(error, match=r"asks for a pin|did not sign"):
        signer_at(TOKEN, public).sign(b"data")


@pytest.mark.rule("SIG-4")
@pytest.mark.peer("softhsm2-util")
def test_a_token_that_signs_with_another_key_is_refused(
    token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETTE_PIN", "1234")
    with pytest.raises(Refused, match="another key"):
        signer_at(TOKEN, CryptoSigner.generate_ecdsa().public_key).sign(b"data")


@pytest.mark.peer("softhsm2-util")
def test_a_key_that_the_token_does_not_hold_is_a_clear_error(
    token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETTE_PIN", "1234")
    for uri in ("hsm:3?label=kette", "hsm:2?label=other", "hsm:x"):
        with pytest.raises(WrongUse, match="not found"):
            signer_at(uri)


def test_a_key_service_needs_its_public_key(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="public key is missing"):
        load_or_create_signer(tmp_path, "awskms:alias/kette")
    assert not any(tmp_path.iterdir())


def test_an_encrypted_private_key_is_a_clear_error() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
    )

    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(WrongUse, match="cannot be read"):
        private_key(pem)
