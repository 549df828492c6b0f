"""NIfTI files under guard: a process of its own reads one, and hands over its grid and voxels.

Rules:

- NII-1  The parser runs in a child that can open and write nothing, within limits of memory and
         time (`nifti_child.py`); it unpacks no more than the header's dimensions say, and these
         stay within the limits. A child that refuses, dies or hangs costs its file.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from audit.errors import Unreadable
from stages.ingest.params import Limits

REMEDY: Final = "Write it again as a NIfTI-1 file of one 3-D image, with its sidecar beside it."
_CHILD: Final = Path(__file__).with_name("nifti_child.py")
_WAIT: Final = 20
"""Seconds for one file, of the clock."""
_LONGEST: Final = 65_536
_PIECE: Final = 2**20


@dataclass(frozen=True)
class Volume:
    """A NIfTI image."""

    voxels: NDArray[Any] = field(repr=False)
    """(k, j, i) as stored."""
    affine: NDArray[np.float64]
    """(3, 4): voxel indices (i, j, k, 1) → LPS, mm."""
    slope: float
    inter: float


def read_nifti(file: IO[bytes], limits: Limits) -> Volume:
    """Read an open file, which the child gets as it is; of it only the voxels are held here.

    Raises:
        Unreadable: NII-1.
    """
    said = {"rows": limits.rows, "frames": limits.frames, "bytes": limits.file_bytes}
    child = subprocess.Popen(
        [sys.executable, "-I", str(_CHILD), json.dumps(said)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
    )
    watch = threading.Timer(_WAIT, child.kill)
    watch.start()
    try:
        told, voxels = _answer(child.stdout, limits.file_bytes)
    except (ValueError, TypeError, KeyError, struct.error):
        raise _refusal() from None
    finally:
        watch.cancel()
        child.kill()
        child.communicate()
    affine = np.array(told["affine"], np.float64) * np.array([[-1.0], [-1.0], [1.0]])
    return Volume(voxels, affine, told["slope"], told["inter"])


def _answer(answer: IO[bytes] | None, most: int) -> tuple[dict[str, Any], NDArray[Any]]:
    """What the child told; raises what `read_nifti` catches where it did not end well."""
    if answer is None:
        raise RuntimeError("the child has no pipe")
    (length,) = struct.unpack("<I", answer.read(4))
    told: dict[str, Any] = json.loads(answer.read(min(length, _LONGEST)))
    across, down, slices = told["dims"]
    kind = np.dtype(told["type"])
    if not 0 < across * down * slices * kind.itemsize <= most:
        raise ValueError
    voxels = np.empty((slices, down, across), kind)
    room = voxels.reshape(-1).view(np.uint8).data
    at = 0
    while at < len(room):
        piece = answer.read(min(_PIECE, len(room) - at))
        if not piece:
            raise ValueError
        room[at : at + len(piece)] = piece
        at += len(piece)
    if answer.read(1) != b"y":
        raise ValueError
    return told, voxels


def _refusal() -> Unreadable:
    return Unreadable("A NIfTI file is none, damaged, or beyond the limits.", REMEDY)
