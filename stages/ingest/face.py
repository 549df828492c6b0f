"""Whether a face could be recognized in a rendering of a series: a fact of the series.

Judged by what the pseudonymized header says and by how much of a head the series can hold. What
follows from it: `face_series.py`.

Rules:

- FAC-1  Of CT and MR (cone beam CT among them) alone; whatever else is no volume of a head.
- FAC-2  `likely`: a word of the body part or a description names the head or a part of it;
         `possible`: none names any part of the body. A word for another part rules a head out only
         with no word for the head beside it.
- FAC-3  `none`, whatever the words say, where the series is smaller than a face in any direction of
         the patient; and, without words, where it is larger than a head is imaged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np

from stages.ingest.geometry import Slice

_HEAD: Final = (
    "head brain skull face facial cranium cranial cerebrum cerebral orbit orbits orbita sinus "
    "sinuses jaw mandible maxilla dental teeth tooth nose ear ears iac tmj neuro pituitary "
    "headneck kopf schaedel gehirn hippocampus skullbase cephalic mprage"
)
_ELSEWHERE: Final = (
    "chest thorax lung lungs abdomen pelvis liver kidney heart cardiac breast spine lspine "
    "tspine knee hip ankle foot leg arm hand wrist elbow shoulder extremity prostate colon"
)
_SMALLEST: Final = (80.0, 100.0, 40.0)
"""Millimeters from left to right, front to back, feet to head: less of a head is no face."""
_LARGEST: Final = 320.0
"""Millimeters across, beyond which a head is not imaged."""
_LETTERS: Final = re.compile(r"[a-z]+")


class Risk(StrEnum):
    """What stands in the column `face_risk` of `series.parquet`."""

    NONE = "none"
    POSSIBLE = "possible"
    LIKELY = "likely"


def risk(modality: str, words: str, slices: Sequence[Slice]) -> Risk:
    """Judge a series (FAC-1 to FAC-3).

    Args:
        modality: of the series.
        words: body part and descriptions, as far as they passed.
        slices: where its slices lie.
    """
    said = set(_LETTERS.findall(words.lower()))
    if modality not in ("CT", "MR") or not slices:
        return Risk.NONE
    extent = extent_mm(slices)
    if any(size < least for size, least in zip(extent, _SMALLEST, strict=True)):
        return Risk.NONE
    if said.intersection(_HEAD.split()):
        return Risk.LIKELY
    return (
        Risk.NONE
        if said.intersection(_ELSEWHERE.split()) or max(extent[:2]) > _LARGEST
        else Risk.POSSIBLE
    )


def extent_mm(slices: Sequence[Slice]) -> tuple[float, float, float]:
    """Size of the box around all voxels' centers: left–right, front–back, feet–head."""
    corners = []
    for one in slices:
        row, column = np.array(one.orientation).reshape(2, 3)
        rows, columns = (int(text) - 1 for text in one.grid[:2])
        for down in (0, rows):
            for along in (0, columns):
                offset = row * along * one.spacing[1] + column * down * one.spacing[0]
                corners.append(np.array(one.position) + offset)
    left, front, feet = np.ptp(np.array(corners), axis=0)
    return float(left), float(front), float(feet)
