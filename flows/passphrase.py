"""The passphrase of a backup: from the environment or a file, never from the command line."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from audit.errors import Refused, WrongUse

VARIABLE: Final = "KETTE_PASSPHRASE"
SHORTEST: Final = 12
_LONGEST: Final = 1024


def passphrase(file: Path | None) -> bytes:
    """Read it; a file's last line feed is no part of it.

    Args:
        file: default: the environment variable `KETTE_PASSPHRASE`.

    Raises:
        Refused: others can read the file.
        WrongUse: there is none, or it is shorter than 12 or longer than 1,024 bytes.
    """
    found = os.environ.get(VARIABLE, "").encode() if file is None else _read(file)
    if not SHORTEST <= len(found) <= _LONGEST:
        raise WrongUse(
            f"The passphrase is missing, or not of {SHORTEST} to {_LONGEST} bytes.",
            f"Set {VARIABLE}, or name a file with `--passphrase-file`.",
        )
    return found


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077:
                raise Refused(
                    f"The file of the passphrase can be read by others (mode {mode:04o}).",
                    "Set its mode to 0600, and choose another passphrase.",
                )
            return opened.read(_LONGEST + 2).removesuffix(b"\n")
    except OSError as error:
        raise WrongUse(
            f"The file of the passphrase cannot be read ({error.strerror}).", "Name another."
        ) from error
