"""Text in an image: where it stands, never what it says.

A detector of text lines and a recognizer (PP-OCRv4, carried by `rapidocr-onnxruntime`, offline).
The detector alone takes tissue borders and scale ticks for text; a box counts if something is read
in it.

Rules:

- OCR-1  One thread, no chance: the same image gives the same boxes, in every process.
- OCR-2  What is read is dropped here; boxes alone are returned.
- OCR-3  A box counts if at least two letters or digits are read in it: borders of tissue are read
         as a C, a D or a dash, and a lone side marker names nobody.
- OCR-4  Large images are looked at in overlapping tiles, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_TILE: Final = 1024
_OVERLAP: Final = 128
"""Pixels that tiles share: a line of text this high is whole in one of them."""
_LONGEST: Final = 1920
"""Pixels of the longer side beyond which an image is shrunk: four tiles, a screen's width."""
_SMALLEST: Final = 64
"""Pixels of a side below which an image gets a border."""
SCORE: Final = 0.5
"""Lowest confidence of the recognizer, 0–1 (its own default)."""
_LETTERS: Final = 2
"""Fewest letters or digits of a text."""


class Box(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of an image."""

    top: int
    left: int
    bottom: int
    right: int


class TextFinder:
    """The engine, loaded once; nothing is opened afterwards."""

    def __init__(self) -> None:
        import cv2

        cv2.setNumThreads(1)
        library: Any = import_module("rapidocr_onnxruntime")
        self._engine = library.RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)

    def boxes(self, image: NDArray[np.uint8]) -> list[Box]:
        """Boxes of lines of text.

        Args:
            image: rows × columns, or rows × columns × 3 (RGB).
        """
        rows, columns = image.shape[:2]
        step = -(-max(rows, columns) // _LONGEST)
        found = set()
        for top, left, tile in _tiles(_shrunk(image, step)):
            for corners, text, score in self._engine(tile, text_score=SCORE)[0] or []:
                if float(score) < SCORE or sum(letter.isalnum() for letter in text) < _LETTERS:
                    continue
                across, down = np.array(corners).T
                box = Box(
                    max(0, int(np.floor(down.min()) + top) * step),
                    max(0, int(np.floor(across.min()) + left) * step),
                    min(rows, int(np.ceil(down.max()) + 1 + top) * step),
                    min(columns, int(np.ceil(across.max()) + 1 + left) * step),
                )
                if box.top < box.bottom and box.left < box.right:
                    found.add(box)
        return sorted(found)


def _shrunk(image: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """The image with each `step` × `step` pixels averaged, in three channels."""
    image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., ::-1]
    if step == 1:
        return np.ascontiguousarray(image)
    rows, columns = (-(-size // step) * step for size in image.shape[:2])
    grown = np.pad(
        image, ((0, rows - image.shape[0]), (0, columns - image.shape[1]), (0, 0)), "edge"
    )
    blocks = grown.reshape(rows // step, step, columns // step, step, 3)
    shrunk: NDArray[np.uint8] = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return shrunk


def _tiles(image: NDArray[np.uint8]) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Top, left and pixels of each tile; one for most images."""
    for top in _starts(image.shape[0]):
        for left in _starts(image.shape[1]):
            tile = image[top : top + _TILE, left : left + _TILE]
            border = [(0, max(0, _SMALLEST - size)) for size in tile.shape[:2]]
            yield top, left, np.ascontiguousarray(np.pad(tile, (*border, (0, 0))))


def _starts(size: int) -> list[int]:
    if size <= _TILE:
        return [0]
    return [*range(0, size - _TILE, _TILE - _OVERLAP), size - _TILE]
