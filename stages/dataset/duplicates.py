"""The same image under two subjects: found by its pixels, whatever its identifiers say.

An instance counts by the SHA-256 of its pixel data as stored. Slices of one value (air, a blank
frame) are alike in everybody and say nothing.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Set
from io import BytesIO
from pathlib import Path

import pydicom

from audit.errors import Unreadable
from stages.archive import read_zip
from stages.series import LIMIT_BYTES, LIMIT_ENTRIES


def keep_first(pixels: Mapping[str, Set[bytes]], order: Iterable[str]) -> dict[str, str]:
    """Subjects to exclude because an earlier one that is kept has an image of theirs.

    Args:
        pixels: subject → digests of its images.
        order: subjects, those to rather keep first.

    Returns:
        Excluded subject → the kept one it shares an image with.
    """
    owners: dict[bytes, str] = {}
    excluded: dict[str, str] = {}
    for subject in order:
        shared = {owners[digest] for digest in pixels[subject] if digest in owners}
        if shared:
            excluded[subject] = min(shared)
        else:
            owners |= dict.fromkeys(pixels[subject], subject)
    return excluded


def pixel_digests(archives: Iterable[Path]) -> set[bytes]:
    """Digests of the images in series archives; instances without pixels are passed over.

    Raises:
        Unreadable: an archive or an instance cannot be read.
    """
    digests: set[bytes] = set()
    for archive in archives:
        for _, data in read_zip(archive, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES):
            digests |= _digest(data)
    return digests


def _digest(data: bytes) -> set[bytes]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            instance = pydicom.dcmread(
                BytesIO(data), specific_tags=["BitsAllocated", "PixelData"], force=False
            )
            pixels = bytes(instance.get("PixelData") or b"")
            width = max(int(instance.get("BitsAllocated") or 8) // 8, 1)
    except Exception as error:  # noqa: BLE001 - any fault of a parser is bad input
        raise Unreadable(
            f"An instance of a stored series cannot be read ({type(error).__name__}).",
            "Delete `.kette/store` and run again.",
        ) from None
    if not pixels or pixels == pixels[:width] * (len(pixels) // width):
        return set()
    return {hashlib.sha256(pixels).digest()[:16]}
