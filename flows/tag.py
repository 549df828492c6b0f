"""Tags: how they are named, what they say, and how they are signed.

Names are GTO's, so that registries of models read them: `<project>@v<version>` registers a version,
`<project>@v<version>!` takes it back (withdrawn), `<project>#deprecated#<n>` assigns a commit the
stage `deprecated`.

The signature is git's `ssh` kind, made by the project's own signer: `git tag -v` checks it with
OpenSSH and a file of allowed signers, without any program of ours.

Rules:

- TAG-1  The signature is over every byte of the tag object that git signs: object, type, name,
         tagger, message.
- TAG-2  The message carries the digests of bundle and manifest and the signed checkpoint, so that
         every clone keeps a checkpoint that the ledger must extend.

Sources: GTO (iterative-gto) tag names; git `gpg.format=ssh`; OpenSSH PROTOCOL.sshsig; RFC 8709
(Ed25519) and RFC 5656 Section 3.1 (ECDSA) for keys and signatures.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.signer import Key, Signer

from audit.errors import Refused, WrongUse
from audit.keys import public_pem

NAMESPACE = "git"
"""What OpenSSH binds the signature to, so that it serves for nothing else."""
BEGIN, END = "-----BEGIN KETTE CHECKPOINT-----", "-----END KETTE CHECKPOINT-----"
DEPRECATED = "deprecated"
"""GTO's stage of a version that is not to be chosen any more."""

_MAGIC, _HASH = b"SSHSIG", "sha512"
_LINE = 70
_CHECKPOINT = re.compile(rf"^{BEGIN}\n(.*?\n){END}$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class TagText:
    """A tag object, before it is signed."""

    commit: str
    name: str
    tagger: str
    """`Name <mail> seconds zone`."""
    message: str

    def as_bytes(self) -> bytes:
        """What git signs (TAG-1)."""
        head = f"object {self.commit}\ntype commit\ntag {self.name}\ntagger {self.tagger}\n"
        return f"{head}\n{self.message.rstrip()}\n".encode()


def registered(project: str, version: str) -> str:
    """The tag of a release.

    Raises:
        WrongUse: GTO knows no artifact of the project's name.
    """
    if not project[-1].isalnum():
        raise WrongUse(
            "The project's name ends with a sign: a registry could not read its tags.",
            "Let `project.name` end with a letter or digit.",
        )
    return f"{project}@v{version}"


def withdrawn(project: str, version: str) -> str:
    """The tag that takes a release back."""
    return f"{registered(project, version)}!"


def deprecated(project: str, taken: Iterable[str]) -> str:
    """The tag of the next deprecation; GTO counts all assignments of a project together."""
    counters = [int(found[1]) for name in taken if (found := re.search(r"#([0-9]+)$", name))]
    return f"{project}#{DEPRECATED}#{1 + max(counters, default=0)}"


def release_message(
    title: str, digests: Mapping[str, str], checkpoint: bytes, record: int | None = None
) -> str:
    """What the tag of a release says (TAG-2).

    Args:
        title: its first line.
        digests: file → SHA-256.
        checkpoint: the signed note.
        record: index of the ledger's record of it.
    """
    lines = [f"{name} sha256:{digest}" for name, digest in digests.items()]
    if record is not None:
        lines.append(f"record {record}")
    note = checkpoint.decode()
    return "\n".join([title, "", *lines, "", BEGIN, note.rstrip("\n"), END, ""])


def checkpoint_in(tag: str) -> bytes:
    """The signed checkpoint in a tag's text, its own signature not yet verified.

    Raises:
        Refused: the tag carries none.
    """
    found = _CHECKPOINT.search(tag)
    if found is None:
        raise Refused("The tag carries no checkpoint.", "Fetch the tags again from their source.")
    return found[1].encode()


def sign(text: TagText, signer: Signer) -> bytes:
    """The whole tag object, signed.

    Raises:
        WrongUse: the key is neither Ed25519 nor ECDSA P-256.
    """
    return text.as_bytes() + armored(text.as_bytes(), signer)


def armored(message: bytes, signer: Signer) -> bytes:
    """An SSH signature file over a message, as `ssh-keygen -Y sign -n git` makes it."""
    key = signer.public_key
    kind, public = _public(key)
    # 1. What is signed: magic, namespace, nothing reserved, and the message's digest.
    digest = hashlib.sha512(message).digest()
    signed = _MAGIC + _strings(NAMESPACE, "", _HASH, digest)
    raw = bytes.fromhex(signer.sign(signed).signature)
    # 2. The signature in SSH's own form: Ed25519's bytes as they are, ECDSA's two numbers.
    if kind != "ssh-ed25519":
        raw = b"".join(_number(value) for value in decode_dss_signature(raw))
    signature = _strings(kind, raw)
    blob = _MAGIC + (1).to_bytes(4, "big") + _strings(public, NAMESPACE, "", _HASH, signature)
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    whole = ["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]
    return "\n".join(whole).encode()


def allowed_signers(keys: Mapping[Key, str | None], principal: str) -> str:
    """The file by which `git -c gpg.ssh.allowedSignersFile=FILE tag -v TAG` checks a tag.

    Args:
        keys: key → when it was retired or revoked (ISO 8601, UTC), null while it may sign. Git
            holds that against the tag's own time, so that older tags stay good.
        principal: how git names their holder, such as the project's name.
    """
    lines = []
    for key, end in sorted(keys.items(), key=lambda item: item[0].keyid):
        kind, public = _public(key)
        until = f',valid-before="{datetime.fromisoformat(end):%Y%m%d%H%M%S}Z"' if end else ""
        encoded = base64.b64encode(public).decode()
        lines.append(f'{principal} namespaces="{NAMESPACE}"{until} {kind} {encoded} {key.keyid}\n')
    return "".join(lines)


def _public(key: Key) -> tuple[str, bytes]:
    """A key's type and bytes, as SSH writes them."""
    public = load_pem_public_key(public_pem(key))
    try:
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except ValueError:
        line = b""
    kind, _, encoded = line.decode().partition(" ")
    if kind not in ("ssh-ed25519", "ecdsa-sha2-nistp256"):
        raise WrongUse(
            "The releaser's key cannot sign a git tag.", "Use an Ed25519 or an ECDSA P-256 key."
        )
    return kind, base64.b64decode(encoded)


def _strings(*values: bytes | str) -> bytes:
    """SSH's `string` of each (RFC 4251 Section 5)."""
    found = (value.encode() if isinstance(value, str) else value for value in values)
    return b"".join(len(data).to_bytes(4, "big") + data for data in found)


def _number(value: int) -> bytes:
    """SSH's `mpint` of a positive number."""
    return _strings(value.to_bytes(value.bit_length() // 8 + 1, "big"))
