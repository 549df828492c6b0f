"""Segmentations: label maps of a series, from DICOM SEG objects (and to them, re-exported).

A label map is uint8, (slices, rows, columns), on the grid of its series; its values are the labels
of the task's structures, 0 is background.

Rules:

- SEG-1  Frames are placed by their position in the patient, never by their order; a frame that
         lies on no slice of the series, or on a grid of another shape or orientation, refuses the
         object. A slice without a frame is background. Where the series was resampled, frames are
         placed on its acquired frames, and the label map is carried to its grid.
- SEG-2  An object that refers to another series or frame of reference, or that names none of the
         task's structures, is refused.
- SEG-3  Where segments overlap, the structure that stands later in the task wins (a lesion within
         an organ).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.archive import read_zip
from stages.params import Structure, Task
from stages.segmentation_writer import LabelMap, write_labels
from stages.series import LIMIT_BYTES, Geometry, Series

__all__ = ["LabelMap", "Labels", "read_labels", "referenced_series", "write_labels"]

_REMEDY = "Export the segmentation again on the grid of its series, or leave it out."


@dataclass(frozen=True)
class Labels:
    """One reader's annotation of one series."""

    map: LabelMap
    classes: dict[str, str]
    """Structure's name → class label, for structures that carry one of the declared classes."""
    reader: str
    """ContentCreatorName (0070,0084) of the object."""


def read_labels(source: Path | bytes, series: Series, task: Task) -> Labels:
    """Read a SEG object on the grid of its series.

    Args:
        source: a SEG object's bytes, its file, or a `<series>.zip` that holds it alone.
        series: the series that it annotates.
        task: the structures to look for, matched by segment label without case.

    Raises:
        Unreadable: SEG-1, SEG-2, or the object is damaged.
    """
    seg = _open(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            return _labels(seg, series, task)
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - any fault of a parser or decoder is bad input
        raise _refusal(f"cannot be read ({type(error).__name__})") from None


def referenced_series(source: Path | bytes) -> str:
    """UID of the one series that a SEG object annotates.

    Raises:
        Unreadable: if it names none, or several.
    """
    return _referenced(_open(source))


def _open(source: Path | bytes) -> Dataset:
    if isinstance(source, Path) and source.suffix == ".zip":
        members = list(read_zip(source, limit_bytes=LIMIT_BYTES, limit_entries=16))
        if len(members) != 1:
            raise _refusal(f"is one of {len(members)} in its series")
        source = members[0][1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            return pydicom.dcmread(BytesIO(source) if isinstance(source, bytes) else source)
    except Exception as error:  # noqa: BLE001 - any fault of a parser is bad input
        raise _refusal(f"cannot be read ({type(error).__name__})") from None


def _referenced(seg: Dataset) -> str:
    uids = {str(item.SeriesInstanceUID) for item in seg.get("ReferencedSeriesSequence", [])}
    if len(uids) != 1:
        raise _refusal(f"refers to {len(uids)} series")
    return uids.pop()


def _labels(seg: Dataset, series: Series, task: Task) -> Labels:
    if _referenced(seg) != series.uid or seg.FrameOfReferenceUID != series.frame_of_reference_uid:
        raise _refusal("refers to another series or frame of reference")
    if seg.get("SegmentationType") not in {"BINARY", "FRACTIONAL"}:
        raise _refusal("is neither binary nor fractional")
    known = {_folded(structure.segment_label): structure for structure in task.structures}
    found: dict[int, Structure] = {}
    classes: dict[str, str] = {}
    for item in seg.SegmentSequence:
        structure = known.get(_folded(item.get("SegmentLabel")))
        if structure is None:
            continue
        found[int(item.SegmentNumber)] = structure
        label = _folded(item.get("SegmentDescription"))
        if label in structure.classes:
            classes[structure.name] = label
    if not found:
        raise _refusal("names none of the task's structures")
    masks = _masks(seg, series, found)
    label_map = np.zeros(series.frame_shape, np.uint8)
    for structure in task.structures:
        if structure.name in masks:
            label_map[masks[structure.name]] = structure.label
    if series.regrid:
        label_map = series.regrid.labels(label_map)
    return Labels(label_map, classes, str(seg.get("ContentCreatorName", "")))


def _masks(
    seg: Dataset, series: Series, found: Mapping[int, Structure]
) -> dict[str, NDArray[np.bool_]]:
    """Structure's name → mask on the series' frames, placed by position (SEG-1)."""
    frames = seg.pixel_array.reshape(-1, int(seg.Rows), int(seg.Columns))
    groups = seg.PerFrameFunctionalGroupsSequence
    if frames.shape[1:] != series.frame_shape[1:] or len(frames) != len(groups):
        raise _refusal("has frames of another shape than the series")
    if seg.SegmentationType == "FRACTIONAL":
        frames = frames >= 0.5 * int(seg.MaximumFractionalValue)
    shared = seg.SharedFunctionalGroupsSequence[0]
    masks = {structure.name: np.zeros(series.frame_shape, np.bool_) for structure in found.values()}
    places = series.frame_places
    for frame, group in zip(frames, groups, strict=True):
        structure = found.get(
            int(_macro(group, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        )
        if structure is not None:
            at = _frame(group, shared, series.geometry, places)
            masks[structure.name][at] |= frame.astype(np.bool_)
    return masks


def _frame(group: Dataset, shared: Dataset, grid: Geometry, places: NDArray[np.float64]) -> int:
    """Index of the series' frame on which a frame of the segmentation lies."""
    orientation = _macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient
    pixel_mm = _macro(group, shared, "PixelMeasuresSequence").PixelSpacing
    if not np.allclose(
        np.array(orientation, dtype=np.float64), [*grid.axes[2], *grid.axes[1]], atol=1e-3
    ) or not np.allclose(np.array(pixel_mm, dtype=np.float64), grid.spacing_mm[1:], rtol=1e-3):
        raise _refusal("has another orientation or pixel spacing than the series")
    position = _macro(group, shared, "PlanePositionSequence").ImagePositionPatient
    offset = np.array(position, dtype=np.float64) - np.array(grid.origin_mm)
    index = np.array(grid.axes) @ offset / np.array(grid.spacing_mm)
    nearest = int(np.abs(places[:, 0] - index[0]).argmin())
    if np.abs(index - places[nearest]).max() > 0.1:
        raise _refusal("has a frame that lies on no slice of the series")
    return nearest


def _macro(group: Dataset, shared: Dataset, keyword: str) -> Any:
    """One functional group of a frame: its own, else the shared one."""
    return (group.get(keyword) or shared[keyword].value)[0]


def _folded(text: object) -> str:
    return str(text or "").strip().casefold()


def _refusal(what: str) -> Unreadable:
    return Unreadable(f"The segmentation {what}.", _REMEDY)
