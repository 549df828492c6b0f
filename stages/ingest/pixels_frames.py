"""Frames of pixel data as arrays: what is shown to a reader of text, and how boxes are blanked.

Rules:

- FRA-1  Blanking changes the boxes alone: every other sample keeps its bits.
- FRA-2  A box gets a margin, so that nothing of a glyph's edge is left, nor a letter at the end of
         a line that the detector took for background.
- FRA-3  What is filled in is black where it is defined (color, MONOCHROME1's highest), else the
         lowest value of the frame.
- FRA-4  Text that a device draws stands still: what is found in one frame is blanked in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.ingest.ocr import Box

LOOKS: Final = 4
"""Frames of a multi-frame image that are looked at, evenly spaced, with first and last; beside
them the brightest value over all frames."""
READABLE: Final = frozenset(("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL"))
"""Photometric interpretations of decoded pixels that can be looked at."""
_BLACK: Final = {"RGB": (0, 0, 0), "YBR_FULL": (0, 128, 128)}
_WINDOW: Final = (0.5, 99.5)
"""Percentiles of a frame between which its second view spreads the values."""

Array = NDArray[np.generic]


def views(frames: Array, photometric: str) -> Iterator[NDArray[np.uint8]]:
    """What is shown to the reader of text.

    Args:
        frames: frames × rows × columns, or frames × rows × columns × 3.
        photometric: of `READABLE`.
    """
    chosen = sorted({round(at) for at in np.linspace(0, len(frames) - 1, LOOKS)})
    looks = [frames[number] for number in chosen]
    if len(frames) > 1:
        looks.append(frames.max(axis=0))
    for look in looks:
        yield from _shown(look, photometric)


def _shown(frame: Array, photometric: str) -> Iterator[NDArray[np.uint8]]:
    """One view of eight bits; of more, the whole range and the range of most pixels."""
    if photometric == "YBR_FULL":
        from pydicom.pixels.processing import convert_color_space

        frame = convert_color_space(frame.astype(np.uint8), "YBR_FULL", "RGB")
    if frame.dtype == np.uint8:
        yield frame.astype(np.uint8)
        return
    values = frame.astype(np.float64)
    whole = float(values.min()), float(values.max())
    most = tuple(float(edge) for edge in np.percentile(values, _WINDOW))
    for low, high in dict.fromkeys((whole, most)):
        spread = (values - low) / max(high - low, 1)
        yield (np.clip(spread, 0, 1) * 255).round().astype(np.uint8)


def blank(frames: Array, boxes: Sequence[Box], photometric: str) -> Array:
    """The frames with every box filled (FRA-1 to FRA-4).

    Args:
        frames: frames × rows × columns, or frames × rows × columns × 3.
        boxes: without their margin.
        photometric: of `READABLE`.
    """
    filled = frames.copy()
    for frame, source in zip(filled, frames, strict=True):
        lowest = source.max() if photometric == "MONOCHROME1" else source.min()
        value = np.array(_BLACK.get(photometric, lowest)).astype(frames.dtype)
        for box in boxes:
            top, left, bottom, right = with_margin(box)
            frame[top:bottom, left:right] = value
    return filled


def with_margin(box: Box) -> Box:
    """The box, grown by a quarter of the line's height and, at its ends, by the whole (FRA-2)."""
    down, across = box.bottom - box.top, box.right - box.left
    side, end = max(2, min(down, across) // 4), max(2, min(down, across))
    rows, columns = (side, end) if down <= across else (end, side)
    return Box(
        max(0, box.top - rows), max(0, box.left - columns), box.bottom + rows, box.right + columns
    )
