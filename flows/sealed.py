r"""A sealed stream: encrypted and authenticated under a passphrase, read in bounded memory.

    KETTE-SEALED-1\n | salt (16 bytes) | chunk | chunk | …

A chunk is up to 1 MiB of plain text under AES-256-GCM, with its 16-byte tag. The key is scrypt's of
passphrase and salt (N = 2^17, r = 8, p = 1). The nonce is the chunk's number (11 bytes) and whether
it is the last (1 byte): the STREAM construction. The header is authenticated with each chunk.

Rules:

- SEA-1  A stream that was changed, cut off, lengthened, or whose chunks were moved is refused.
- SEA-2  Nothing in the file says how it is to be read: no parameter of it costs time or memory.

Sources: RFC 7914 (scrypt), NIST SP 800-38D (GCM), Hoang et al. 2015 (STREAM).
"""

from __future__ import annotations

import io
import secrets
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from typing_extensions import Buffer

from audit.errors import Refused

MAGIC: Final = b"KETTE-SEALED-1\n"
CHUNK: Final = 2**20
_SALT: Final = 16
_TAG: Final = 16


class SealedWriter(io.RawIOBase):
    """Seals what is written; `close` writes the last chunk.

    Args:
        target: where the sealed bytes go; it stays open.
        passphrase: the passphrase.
    """

    def __init__(self, target: BinaryIO, passphrase: bytes) -> None:
        self._target = target
        salt = secrets.token_bytes(_SALT)
        self._header = MAGIC + salt
        self._cipher = _cipher(passphrase, salt)
        self._pending = bytearray()
        self._number = 0
        target.write(self._header)

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        """Take bytes; a chunk is sealed once more than it is there."""
        self._pending += data
        while len(self._pending) > CHUNK:
            self._seal(bytes(self._pending[:CHUNK]), last=False)
            del self._pending[:CHUNK]
        return memoryview(data).nbytes

    def finish(self) -> None:
        """Seal the last chunk. Without it, what was written does not open."""
        self._seal(bytes(self._pending), last=True)
        self._pending.clear()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), plain, self._header)
        self._target.write(sealed)
        self._number += 1


class SealedReader(io.RawIOBase):
    """The plain bytes of a sealed stream, each chunk verified before any of it is given out.

    Args:
        source: the sealed bytes.
        passphrase: the passphrase.

    Raises:
        Refused: here and when reading: SEA-1, or the passphrase is another.
    """

    def __init__(self, source: BinaryIO, passphrase: bytes) -> None:
        self._source = source
        self._header = source.read(len(MAGIC) + _SALT)
        if len(self._header) != len(MAGIC) + _SALT or not self._header.startswith(MAGIC):
            raise Refused("The file is no backup.", "Name a file that `kette backup` wrote.")
        self._cipher = _cipher(passphrase, self._header[len(MAGIC) :])
        self._number = 0
        self._next = source.read(CHUNK + _TAG)
        self._plain = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        while not self._plain and not self._ended:
            self._open()
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._plain))
        view[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _open(self) -> None:
        sealed, self._next = self._next, self._source.read(CHUNK + _TAG)
        self._ended = not self._next
        nonce = _nonce(self._number, last=self._ended)
        try:
            self._plain = memoryview(self._cipher.decrypt(nonce, sealed, self._header))
        except InvalidTag as error:
            raise Refused(
                "The passphrase is another, or the backup was changed or cut off.",
                "Try the right passphrase, then another copy of the backup.",
            ) from error
        self._number += 1


def _cipher(passphrase: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=2**17, r=8, p=1).derive(passphrase))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
