"""Does a file show where it was made? Absolute paths name hosts, users and folders.

Rules:

- LEA-1  No member holds the absolute path of a home, temporary or system folder, of POSIX or of
         Windows, nor a place of installed packages. Embedded pictures are looked at decoded.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence

_ROOTS = re.compile(
    rb"(?<![\w./<-])/(?:home|Users|root|tmp|var|private|opt|usr|mnt|media|srv|data|workspace)"
    rb"/[\w.-]+"
    rb"|\b[A-Za-z]:\\{1,2}(?:Users|Windows|Program Files|Temp)\b"
    rb"|site-packages/|dist-packages/"
)
_EMBEDDED = re.compile(rb"data:image/[\w+.-]+;base64,([A-Za-z0-9+/=]+)")


def leaks(members: Mapping[str, bytes], places: Sequence[str] = ()) -> list[str]:
    """Names of the members that show an absolute path.

    Args:
        members: name → bytes.
        places: absolute paths of this very run, searched for as they stand.
    """
    own = [place.encode() for place in places if len(place) > 1]
    return sorted(
        name
        for name, data in members.items()
        if any(_ROOTS.search(part) or any(place in part for place in own) for part in _parts(data))
    )


def _parts(data: bytes) -> list[bytes]:
    """A file without its embedded pictures, and each of them decoded."""
    pictures = [b64decode(found) for found in _EMBEDDED.findall(data)]
    return [_EMBEDDED.sub(b"", data), *pictures]
