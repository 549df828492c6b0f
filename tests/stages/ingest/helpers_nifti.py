"""NIfTI-1 files for the tests, written by hand, with identifiers in every text of the header."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}
PLAIN = [[1.0, 0, 0, -10], [0, 1.5, 0, -20], [0, 0, 3.0, 5]]
"""RAS: columns run to the right, rows to the front, slices to the head."""
SECRET = b"Leonore Kraehwinkler 19431207"
SIDECAR = {"Modality": "CT", "PatientID": "KH-4711-0815", "Manufacturer": "AURORA"}


def oblique() -> list[list[float]]:
    """A turned grid of 0.9 × 1.1 × 2.5 mm, left-handed as scanners' often are."""
    a, b = np.deg2rad(25), np.deg2rad(-40)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    steps = turn * np.array([-0.9, 1.1, 2.5])
    return np.concatenate([steps, [[12.25], [-30.5], [7.75]]], axis=1).tolist()


def nifti(
    voxels: NDArray[Any],
    affine: Any = PLAIN,
    *,
    slope: float = 0.0,
    inter: float = 0.0,
    order: str = "<",
    extension: bytes = b"",
    quaternion: tuple[float, ...] | None = None,
    **fields: tuple[str, int, Any],
) -> bytes:
    """A file of voxels (k, j, i).

    Args:
        voxels: as stored.
        affine: the sform, RAS; None for none.
        slope: scl_slope.
        inter: scl_inter.
        order: of bytes.
        extension: put between header and voxels.
        quaternion: b, c, d, offset x, y, z, qfac, and three steps: the qform.
        fields: name → format, offset and value of any other field, written last.
    """
    slices, down, across = voxels.shape
    kind = voxels.dtype.str[1:]
    start = 352 + (len(extension) + 15) // 16 * 16
    header = bytearray(352)

    def put(form: str, at: int, *values: Any) -> None:
        struct.pack_into(order + form, header, at, *values)

    put("i", 0, 348)
    header[4:14], header[14:32] = b"db_type".ljust(10), b"Kraehwinkler".ljust(18)
    put("8h", 40, 3, across, down, slices, 1, 1, 1, 1)
    put("2h", 70, CODES[kind], voxels.dtype.itemsize * 8)
    put("8f", 76, 1, 1, 1, 1, 0, 0, 0, 0)
    put("3f", 108, start, slope, inter)
    put("B", 123, 2)
    header[148:228], header[228:252] = SECRET.ljust(80), SECRET[:24]
    header[328:344] = b"Kraehwinkler".ljust(16)
    if affine is not None:
        put("h", 254, 1)
        put("3f", 80, *np.linalg.norm(np.array(affine, float)[:, :3], axis=0))
        for row, at in zip(affine, (280, 296, 312), strict=True):
            put("4f", at, *row)
    if quaternion is not None:
        put("h", 252, 1)
        put("6f", 256, *quaternion[:6])
        put("4f", 76, *quaternion[6:])
    header[344:348] = b"n+1\0"
    for form, at, value in fields.values():
        put(form, at, *(value if isinstance(value, tuple) else (value,)))
    if extension:
        header[348] = 1
    swapped = voxels.astype(voxels.dtype.newbyteorder(order))
    return bytes(header) + extension.ljust(start - 352, b"\0") + swapped.tobytes()


def image(shape: tuple[int, int, int] = (5, 6, 7), kind: str = "i2") -> NDArray[Any]:
    """A volume (k, j, i) without any symmetry."""
    k, j, i = np.indices(shape)
    return (k * 100 + j * 10 + i - 200).astype(kind)


def put(folder: Path, name: str, data: bytes, sidecar: dict[str, Any] | None = None) -> Path:
    """Write an image (packed if its name says so) and its sidecar."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress(data, mtime=0) if name.endswith(".gz") else data
    (folder / name).write_bytes(packed)
    if sidecar is not None:
        stem = name.removesuffix(".gz").removesuffix(".nii")
        (folder / f"{stem}.json").write_text(json.dumps(sidecar))
    return folder
