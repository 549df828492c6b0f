"""Codestreams of encapsulated pixel data, as far as their first bytes tell: size, not content.

Rules:

- COD-1  A codestream's own rows, columns, samples and precision are those of the header. A decoder
         allocates by its codestream, so this bounds it.
- COD-2  What multiplies work beyond the size (tiles, layers, segments) stays within what scanners
         write.

Sources: ITU-T T.81 Annex B (JPEG), T.87 Annex C (JPEG-LS), T.800 Annex A (JPEG 2000); PS3.5 Annex G
(RLE), Section A.4 (items).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from stages.ingest.quarantine import Quarantined, Reason

_TILES: Final = 4096
_LAYERS: Final = 256
_LEVELS: Final = 32


@dataclass(frozen=True)
class Shape:
    """What a header says about its pixels."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits: int
    """Allocated."""
    stored: int
    signed: bool
    photometric: str

    @property
    def length(self) -> int:
        """Of native pixel data, bytes, padded to even."""
        bits = self.rows * self.columns * self.frames * self.samples * self.bits
        return (bits + 15) // 16 * 2


Size = tuple[int, int, int, int]
"""Rows, columns, samples, bits of a sample."""


def frames_of(items: Sequence[memoryview], frames: int) -> list[memoryview]:
    """The codestream of each frame, by the items of encapsulated pixel data.

    A frame in several items is told by its first. More frames than one in several items each are
    not written by scanners, and not accepted.

    Args:
        items: values of all items, the offset table's first.
        frames: as the header says.

    Raises:
        Quarantined: the items do not fit the number of frames.
    """
    streams = items[1:]
    if not streams or (frames > 1 and len(streams) != frames):
        raise Quarantined(Reason.DECODE)
    return list(streams[:1]) if frames == 1 else list(streams)


def check_codestream(codec: str, data: memoryview, shape: Shape) -> None:
    """Hold the head of a frame's codestream against the header (COD-1, COD-2).

    Raises:
        Quarantined: it is damaged or of another size.
    """
    try:
        rows, columns, samples, bits = _SIZES[codec](bytes(data[:_HEAD]), shape)
    except (struct.error, IndexError):
        raise Quarantined(Reason.DECODE) from None
    said = rows, columns, samples
    if said != (shape.rows, shape.columns, shape.samples) or bits > shape.bits:
        raise Quarantined(Reason.DECODE)


_HEAD: Final = 64 * 1024


def _jpeg(data: bytes, _: Shape) -> Size:
    """JPEG and JPEG-LS: the frame header (SOF), found by walking the markers before it."""
    if data[:2] != b"\xff\xd8":
        raise Quarantined(Reason.DECODE)
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker in (0xFFC0, 0xFFC1, 0xFFC3, 0xFFF7):
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, at + 4)
            return rows, columns, samples, bits
        if not 0xFFC0 <= marker <= 0xFFFE or marker == 0xFFDA or length < 2:
            raise Quarantined(Reason.DECODE)
        at += 2 + length


def _jpeg_2000(data: bytes, _: Shape) -> Size:
    """JPEG 2000: SIZ, which comes first, and COD."""
    if data[:4] != b"\xff\x4f\xff\x51":
        raise Quarantined(Reason.DECODE)
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, samples = (
        struct.unpack_from(">8IH", data, 8)
    )
    parts = [struct.unpack_from(">3B", data, 42 + 3 * number) for number in range(samples)]
    if any((across, down) != (1, 1) for _, across, down in parts) or not tile_width * tile_height:
        raise Quarantined(Reason.DECODE)
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    cod = data.index(b"\xff\x52") if b"\xff\x52" in data else len(data)
    layers, levels = struct.unpack_from(">HxB", data, cod + 6)
    if not 0 < tiles <= _TILES or layers > _LAYERS or levels > _LEVELS:
        raise Quarantined(Reason.DECODE)
    return height - top, width - left, samples, max((bits & 0x7F) + 1 for bits, *_ in parts)


def _rle(data: bytes, shape: Shape) -> Size:
    """RLE: the header counts the segments; a byte of each sample has one (PS3.5 Section G.5)."""
    count, *offsets = struct.unpack_from("<16I", data)
    expected = shape.samples * shape.bits // 8
    if count != expected or offsets[:count] != sorted(offsets[:count]) or offsets[0] != 64:
        raise Quarantined(Reason.DECODE)
    return shape.rows, shape.columns, shape.samples, shape.bits


_SIZES: Final[dict[str, Callable[[bytes, Shape], Size]]] = {
    "JPEG": _jpeg,
    "JPEG-LS": _jpeg,
    "JPEG 2000": _jpeg_2000,
    "RLE": _rle,
}
