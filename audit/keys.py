"""This machine's signing keys, as the rest of the program asks for them.

Rules:

- SIG-1  A private key on disk is PKCS#8 PEM of mode 0600 in a folder of mode 0700; one that others
         can read is refused.
- SIG-5  While a key is being replaced, nothing else is signed with its slot.

Slots are `audit.slots`, places of private keys `audit.signers`, the form of keys
`audit.public_keys`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from securesystemslib.signer import Signer

from audit.errors import WrongUse
from audit.public_keys import key_from_pem, load_public, public_keys, public_pem
from audit.slots import SIGNER, fill, slot_of

__all__ = [
    "PRIVATE",
    "PUBLIC",
    "key_from_pem",
    "load_or_create_signer",
    "load_public",
    "public_keys",
    "public_pem",
]

PRIVATE: Final = f"{SIGNER}.pem"
PUBLIC: Final = f"{SIGNER}.pub"


def load_or_create_signer(
    folder: Path, uri: str | None = None, *, role: str = "pipeline"
) -> Signer:
    """This machine's signer for a role; without any key, one is created.

    Args:
        folder: the project's folder of keys.
        uri: where the machine's key lies, as `audit.signers` says; default: what the folder says.
        role: what will be signed; the same key for all, unless the folder holds one of its own.

    Raises:
        Refused: if others can read the private key (SIG-1), or the public key does not fit (SIG-2).
        WrongUse: if the key is missing, of another type, or being replaced (SIG-5).
    """
    slot = slot_of(folder, role)
    if slot.next.public.exists():
        raise WrongUse(
            "This machine's key is being replaced, and that has not ended.",
            "Run `kette keys rotate` again: it goes on where it stopped.",
        )
    return fill(slot, uri if slot.name == SIGNER else None)
