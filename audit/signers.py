"""Signers by URI: where a private key lies, and how it signs without leaving there.

    file2:<path>                PKCS#8 PEM, its owner's alone
    keyring:<service>/<name>    the system's keyring: Keychain, Credential Locker, Secret Service
    hsm:<key id>?label=<token>  PKCS#11, ECDSA P-256: `PYKCS11LIB` names the driver, `KETTE_PIN`
    awskms:, azurekms:, gcpkms:, hv:  key services, as `securesystemslib` has them

Rules:

- SIG-1  A private key on disk is PKCS#8 PEM of mode 0600 in a folder of mode 0700; one that others
         can read is refused.
- SIG-4  What a device or service signed is verified before it is used: a signature by another key
         than the one that was named never reaches a ledger.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    CryptoSigner,
    HSMSigner,
    Key,
    SecretsHandler,
    Signature,
    Signer,
    SSlibKey,
)

from audit.errors import Fault, Refused, WrongUse

FILE = "file2:"
KEYRING = "keyring:"
_HSM = "hsm:"

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey


def signer_at(uri: str, public: Key | None = None) -> Signer:
    """The signer that a URI names.

    Args:
        uri: as in the module's table.
        public: its public key; needed for key services, read from the key itself elsewhere.

    Raises:
        WrongUse: if the key is not there, is none of ours, or needs its public key.
        Refused: if others can read a private key in a file (SIG-1), or the key is another's.
        Fault: if the device, service or keyring does not answer.
    """
    if uri.startswith(FILE):
        signer: Signer = CryptoSigner(_file_key(Path(uri.removeprefix(FILE))))
    elif uri.startswith(KEYRING):
        signer = KeyringSigner.open(uri)
    else:
        signer = _Elsewhere.from_priv_key_uri(uri, public or _exported(uri), _pin)
    if public is not None and signer.public_key != public:
        raise Refused(
            "The public key beside the signing key is another key's.",
            "Restore the pair from a backup; do not sign with a key of unknown origin.",
        )
    return signer


def new_in_keyring(uri: str) -> Signer:
    """A new Ed25519 key in the system's keyring; the one that is there, if there is one.

    Raises:
        WrongUse, Fault: as `signer_at`.
    """
    if KeyringSigner.stored(uri) is None:
        KeyringSigner.store(uri, CryptoSigner.generate_ed25519().private_bytes.decode())
    return KeyringSigner.open(uri)


def forget(uri: str) -> None:
    """Remove a private key from the system's keyring; a key elsewhere is its owner's to remove.

    Raises:
        Fault: if the keyring does not answer.
    """
    if uri.startswith(KEYRING):
        KeyringSigner.remove(uri)


def private_key(pem: bytes) -> PrivateKey:
    """A private key: Ed25519, or ECDSA on P-256.

    Raises:
        WrongUse: for other bytes or another type of key.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise WrongUse(
            "The private signing key cannot be read.",
            "Give an unencrypted PKCS#8 PEM file, or restore it from a backup.",
        ) from error
    match key:
        case Ed25519PrivateKey():
            return key
        case EllipticCurvePrivateKey() if isinstance(key.curve, SECP256R1):
            return key
    raise WrongUse(
        "The private signing key is neither Ed25519 nor ECDSA P-256.",
        "Give a key of these types.",
    )


class KeyringSigner(Signer):
    """A key in the system's keyring, as PKCS#8 PEM under service and name.

    Registered with `securesystemslib` as `keyring:`, beside its own schemes.
    """

    SCHEME = "keyring"

    def __init__(self, inner: CryptoSigner) -> None:
        self._inner = inner

    @property
    def public_key(self) -> Key:
        return self._inner.public_key

    def sign(self, payload: bytes) -> Signature:
        return self._inner.sign(payload)

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> KeyringSigner:
        del secrets_handler  # the keyring asks for what it needs
        signer = cls.open(priv_key_uri)
        if signer.public_key != public_key:
            raise ValueError("the key in the keyring is another one")
        return signer

    @classmethod
    def open(cls, uri: str) -> KeyringSigner:
        pem = cls.stored(uri)
        if pem is None:
            raise WrongUse(
                "The signing key is not in this system's keyring.",
                "Log in as the user who has it, or make one with `kette keys rotate --key URI`.",
            )
        return cls(CryptoSigner(private_key(pem.encode())))

    @classmethod
    def stored(cls, uri: str) -> str | None:
        import keyring
        from keyring.errors import KeyringError

        try:
            return keyring.get_password(*_entry(uri))
        except KeyringError as error:
            raise _no_keyring(error) from error

    @classmethod
    def store(cls, uri: str, pem: str) -> None:
        import keyring
        from keyring.errors import KeyringError

        try:
            keyring.set_password(*_entry(uri), pem)
        except KeyringError as error:
            raise _no_keyring(error) from error

    @classmethod
    def remove(cls, uri: str) -> None:
        import keyring
        from keyring.errors import KeyringError

        try:
            if cls.stored(uri) is not None:
                keyring.delete_password(*_entry(uri))
        except KeyringError as error:
            raise _no_keyring(error) from error


SIGNER_FOR_URI_SCHEME[KeyringSigner.SCHEME] = KeyringSigner


class _Elsewhere(Signer):
    """A signer of `securesystemslib` on a device or service, its work verified (SIG-4)."""

    def __init__(self, inner: Signer) -> None:
        self._inner = inner

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> _Elsewhere:
        try:
            return cls(Signer.from_priv_key_uri(priv_key_uri, public_key, secrets_handler))
        except (ValueError, OSError, ImportError) as error:
            raise WrongUse(
                "The signing key's URI is not understood.",
                "Correct the URI, or install its driver.",
            ) from error

    @property
    def public_key(self) -> Key:
        return self._inner.public_key

    def sign(self, payload: bytes) -> Signature:
        try:
            signature = self._inner.sign(payload)
            self.public_key.verify_signature(signature, payload)
        except WrongUse:
            raise
        except UnverifiedSignatureError as error:
            raise Refused(
                "The device or service signed with another key than its public key here.",
                "Correct the key's URI, or its public key.",
            ) from error
        except Exception as error:
            raise Fault(
                f"The device or service that holds the key did not sign ({type(error).__name__}).",
                "Check that it is connected, `PYKCS11LIB` and `KETTE_PIN`; then try again.",
            ) from error
        return signature


def _file_key(path: Path) -> PrivateKey:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Refused(
                    f"The private signing key can be read by others (mode {mode:04o}).",
                    "Set its mode to 0600, and replace the key if others may have read it.",
                )
            return private_key(file.read())
    except OSError as error:
        raise WrongUse(
            "The private signing key cannot be read.",
            "Restore it from a backup, or put a new one in its place with `kette keys rotate`.",
        ) from error


def _exported(uri: str) -> Key:
    """The public key, asked from the device."""
    if not uri.startswith(_HSM):
        raise WrongUse(
            "The signing key's public key is missing.",
            "Export it from the key's device or service as PEM, and give that file too.",
        )
    address = urlsplit(uri)
    try:
        keyid = int(address.path) if address.path else None
        label = dict(parse_qsl(address.query)).get("label")
        _, key = HSMSigner.import_(keyid, label, _pin)
    except WrongUse:
        raise
    except Exception as error:
        raise WrongUse(
            "The device that holds the signing key, or the key on it, was not found.",
            "Connect it; name its driver in `PYKCS11LIB`; correct key id and label in the URI.",
        ) from error
    if key.scheme != "ecdsa-sha2-nistp256":
        raise WrongUse("The key on the device is not ECDSA P-256.", "Make one of this type there.")
    return SSlibKey.from_dict(key.keyid, key.to_dict())


def _pin(secret: str) -> str:
    """What a device asks for, from the environment: nothing here ever waits for a keyboard."""
    pin = os.environ.get("KETTE_PIN")
    if pin is None:
        raise WrongUse(f"The key's device asks for a {secret}.", "Set it in `KETTE_PIN`.")
    return pin


def _entry(uri: str) -> tuple[str, str]:
    service, _, name = uri.removeprefix(KEYRING).partition("/")
    if not service or not name:
        raise WrongUse("The key's URI is not understood.", "Write `keyring:<service>/<name>`.")
    return service, name


def _no_keyring(error: Exception) -> Fault:
    return Fault(
        f"This system's keyring does not answer ({type(error).__name__}).",
        "Unlock it, install a backend for `keyring`, or use a key in a file.",
    )
