"""The child of `nifti_box.py`: a NIfTI-1 file on standard input, its grid and voxels on output.

It knows the standard library alone, and of the header only what places and scales voxels: no text
of it (description, file names, intent) and no extension is ever read out. What it answers: a
length, JSON, the voxels as they are stored, and `y` if the file ended as it should.

Source: the header's definition `nifti1.h` (348 bytes, magic `n+1`).
"""

from __future__ import annotations

import json
import math
import resource
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Any, Final

MEMORY: Final = 256 * 2**20
"""Bytes of data; files pass through in pieces."""
SECONDS: Final = 15
"""Of processor time."""
_HEADER: Final = 348
_PIECE: Final = 2**20
_TRAILING: Final = 2**20
"""Bytes that may follow the voxels."""
_TYPES: Final = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
}  # fmt: skip
_UNITS: Final = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Spatial unit → mm; unknown ones are mm, as every reader takes them."""
_APART: Final = 0.1
"""Millimeters by which the two transforms of one header may place a corner apart."""
_STEPS: Final = 0.01
"""Share by which a transform and the voxels' size may differ; headers hold single precision."""

Matrix = list[list[float]]


class Refused(Exception):
    """Raised for a file that is none, or beyond the limits."""


def main() -> None:
    """Answer for one file; the limits stand in the only argument, as JSON."""
    limits = json.loads(sys.argv[1])
    for kind, most in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_CPU, SECONDS),
    ):
        resource.setrlimit(kind, (most, most))
    try:
        _answer(limits)
    except Refused:
        sys.exit(1)


def _answer(limits: dict[str, int]) -> None:
    pieces, answer = _inflated(_read()), sys.stdout.buffer
    held = b""  # the file itself is standard input: none of it is held by whoever asked
    while len(held) < _HEADER:
        held += _next(pieces)
    told, start, size = header(held[:_HEADER], limits)
    raw = json.dumps(told).encode()
    answer.write(struct.pack("<I", len(raw)) + raw)
    while len(held) < start:
        held += _next(pieces)
    left = size
    piece = held[start:]
    while True:
        answer.write(piece[:left])
        left -= min(left, len(piece))
        if not left:
            break
        piece = _next(pieces)
    trailing = 0
    for piece in pieces:
        trailing += len(piece)
        if trailing > _TRAILING + _PIECE:
            raise Refused
    answer.write(b"y")
    answer.flush()


def header(data: bytes, limits: dict[str, int]) -> tuple[dict[str, Any], int, int]:
    """What of a header places and scales voxels; where they start, and how many bytes they are.

    Raises:
        Refused: no NIfTI-1 file of one 3-D image, or beyond the limits.
    """
    for order in "<>":
        if struct.unpack_from(f"{order}i", data)[0] == _HEADER:
            break
    else:
        raise Refused
    dims = struct.unpack_from(f"{order}8h", data, 40)
    kind, bits = struct.unpack_from(f"{order}2h", data, 70)
    start, slope, inter = struct.unpack_from(f"{order}3f", data, 108)
    three = [*dims[1:4]]
    single = dims[0] == 3 or (3 < dims[0] <= 7 and all(size == 1 for size in dims[4 : dims[0] + 1]))
    if data[344:348] != b"n+1\0" or not single or min(three) < 1 or kind not in _TYPES:
        raise Refused
    across, down, slices = three
    size = across * down * slices * int(_TYPES[kind][1])
    if max(across, down) > limits["rows"] or slices > limits["frames"] or size > limits["bytes"]:
        raise Refused
    if int(_TYPES[kind][1]) * 8 != bits or not (352 <= start <= _TRAILING and start == int(start)):
        raise Refused
    told = {
        "dims": three,
        "type": order + _TYPES[kind],
        "affine": _affine(data, order),
        **_scaling(slope, inter),
    }
    return told, int(start), size


def _scaling(slope: float, inter: float) -> dict[str, float]:
    """Slope and intercept; none where the slope is 0, or not a number as nibabel writes it."""
    if slope == 0 or math.isnan(slope):
        return {"slope": 1.0, "inter": 0.0}
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise Refused
    return {"slope": slope, "inter": inter}


def _affine(data: bytes, order: str) -> Matrix:
    """From voxel indices (i, j, k) to the patient's right, front, head (mm): three rows of four.

    Raises:
        Refused: the header has no transform, or two that differ, or other voxel sizes than its
            transform: readers do not agree which of the two holds.
    """
    (units,) = struct.unpack_from("B", data, 123)
    by_quaternion, by_rows = struct.unpack_from(f"{order}2h", data, 252)
    found = []
    if by_rows > 0:
        numbers = struct.unpack_from(f"{order}12f", data, 280)
        rows = [list(numbers[at : at + 4]) for at in (0, 4, 8)]
        if not _steps_agree(rows, struct.unpack_from(f"{order}3f", data, 80)):
            raise Refused
        found.append(rows)
    if by_quaternion > 0:
        found.append(_by_quaternion(data, order))
    unit = _UNITS.get(units & 7)
    if not found or unit is None:
        raise Refused
    scaled = [[[value * unit for value in row] for row in one] for one in found]
    if not all(math.isfinite(value) for one in scaled for row in one for value in row):
        raise Refused
    sizes = struct.unpack_from(f"{order}3h", data, 42)
    if len(scaled) == 2 and _apart(scaled[0], scaled[1], sizes) > _APART:
        raise Refused
    return scaled[0]


def _steps_agree(rows: Matrix, pixdim: tuple[float, ...]) -> bool:
    """Whether the columns of a transform are as long as the voxels are said to be."""
    for axis, said in enumerate(pixdim):
        length = math.sqrt(sum(row[axis] ** 2 for row in rows))
        if not abs(length - abs(said)) <= _STEPS * max(length, 1e-3):
            return False
    return True


def _by_quaternion(data: bytes, order: str) -> Matrix:
    pixdim = struct.unpack_from(f"{order}4f", data, 76)
    b, c, d, *offset = struct.unpack_from(f"{order}6f", data, 256)
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:
        length = math.sqrt(b * b + c * c + d * d) or 1.0
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = math.sqrt(rest)
    turn = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    steps = [pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)]
    return [
        [*(value * step for value, step in zip(row, steps, strict=True)), at]
        for row, at in zip(turn, offset, strict=True)
    ]


def _apart(one: Matrix, other: Matrix, sizes: tuple[int, ...]) -> float:
    """How far apart two transforms place a corner, at most."""
    corners = [
        [i * (sizes[0] - 1), j * (sizes[1] - 1), k * (sizes[2] - 1), 1]
        for i in (0, 1) for j in (0, 1) for k in (0, 1)
    ]  # fmt: skip
    return max(
        abs(sum((p - q) * at for p, q, at in zip(first, second, corner, strict=True)))
        for first, second in zip(one, other, strict=True)
        for corner in corners
    )


def _read() -> Iterator[bytes]:
    while piece := sys.stdin.buffer.read(_PIECE):
        yield piece


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A file's content, unpacked if it is gzip; each piece is bounded."""
    first = next(pieces, b"")
    if first[:2] != b"\x1f\x8b":
        yield first
        yield from pieces
        return
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        left = first
        while left or (left := next(pieces, b"")):
            if stream.eof:
                raise Refused
            yield stream.decompress(left, _PIECE)
            left = stream.unconsumed_tail or stream.unused_data
    except zlib.error:
        raise Refused from None
    if not stream.eof:
        raise Refused


def _next(pieces: Iterator[bytes]) -> bytes:
    for piece in pieces:
        if piece:
            return piece
    raise Refused


if __name__ == "__main__":
    main()
