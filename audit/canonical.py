"""The one JSON form that digests and signatures are taken over."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Serialize with sorted keys, no spaces, in UTF-8.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_json(value: Any) -> str:
    """SHA-256 of `canonical_json(value)`, in lower-case hexadecimal."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
