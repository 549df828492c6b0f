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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audit.errors import Unreadable
from stages.ingest.params import Limits

REMEDY: Final = "Write it again as a NIfTI-1 file of one 3-D image, with its sidecar beside it."
_CHILD: Final = Path(__file__).with_name("nifti_child.py")
_WAIT: Final = 20
"""Seconds for one file, of the clock."""


@dataclass(frozen=True)
class Volume:
    """A NIfTI image."""

    voxels: NDArray[Any] = field(repr=False)
    """(k, j, i) as stored."""
    affine: NDArray[np.float64]
    """(3, 4): voxel indices (i, j, k, 1) → LPS, mm."""
    slope: float
    inter: float


def read_nifti(data: bytes, limits: Limits) -> Volume:
    """Read a file's bytes.

    Raises:
        Unreadable: NII-1.
    """
    said = {"rows": limits.rows, "frames": limits.frames, "bytes": limits.file_bytes}
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_CHILD), json.dumps(said)],
            input=data,
            capture_output=True,
            timeout=_WAIT,
            check=True,
            env={},
        )
    except (OSError, subprocess.SubprocessError):
        raise _refusal() from None
    (length,) = struct.unpack_from("<I", done.stdout)
    told = json.loads(done.stdout[4 : 4 + length])
    across, down, slices = told["dims"]
    kind, count = np.dtype(told["type"]), across * down * slices
    if done.stdout[4 + length + count * kind.itemsize :] != b"y":
        raise _refusal()
    voxels = np.frombuffer(done.stdout, kind, count, 4 + length)
    affine = np.array(told["affine"], np.float64) * np.array([[-1.0], [-1.0], [1.0]])
    return Volume(voxels.reshape(slices, down, across), affine, told["slope"], told["inter"])


def _refusal() -> Unreadable:
    return Unreadable("A NIfTI file is none, damaged, or beyond the limits.", REMEDY)
