"""Segmentations: label maps of a series, from and to DICOM SEG objects.

A label map is uint8, (slices, rows, columns), on the grid of its series; its values are the labels
of the task's structures, 0 is background.

Rules:

- SEG-1  Frames are placed by their position in the patient, never by their order; a frame that
         lies on no slice of the series, or on a grid of another shape or orientation, refuses the
         object. A slice without a frame is background.
- SEG-2  An object that refers to another series or frame of reference, or that names none of the
         task's structures, is refused.
- SEG-3  Where segments overlap, the structure that stands later in the task wins (a lesion within
         an organ).
- SEG-4  A written object's bytes depend on its arguments alone: UIDs are digests of the seed,
         dates and times are the epoch's.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.archive import read_zip
from stages.params import Structure, Task
from stages.series import LIMIT_BYTES, Geometry, Series

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

LabelMap = NDArray[np.uint8]

_REMEDY = "Export the segmentation again on the grid of its series, or leave it out."
_TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_CATEGORY = {
    "anatomy": ("123037004", "SCT", "Anatomical Structure"),
    "abnormality": ("49755003", "SCT", "Morphologically Abnormal Structure"),
}


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


def write_labels(
    path: Path,
    label_map: LabelMap,
    series: Series,
    task: Task,
    *,
    seed: str,
    epoch: datetime,
    description: str,
    classes: Mapping[str, str] = {},
    algorithm: str | None = None,
    creator: str,
) -> None:
    """Write a label map as one BINARY SEG object; the same arguments give the same bytes (SEG-4).

    Args:
        path: the file; its folder is made.
        label_map: (slices, rows, columns) on the grid of `series`.
        series: the series that it segments.
        task: gives every segment its label and code; a structure without voxels is described too.
        seed: what makes the object unique; its UIDs are digests of it.
        epoch: content, series and creation time.
        description: of series and content, at most 64 characters.
        classes: structure's name → class label, written as the segment's description.
        algorithm: name and version, separated by a space; None if drawn by hand.
        creator: ContentCreatorName.
    """
    import highdicom as hd  # takes half a second

    if label_map.shape != series.geometry.shape or label_map.dtype != np.uint8:
        raise ValueError("a label map is uint8 on the grid of its series")
    segments = np.zeros_like(label_map)
    for number, structure in enumerate(task.structures, start=1):
        segments[label_map == structure.label] = number
    moment = epoch.astimezone(UTC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        seg = hd.seg.Segmentation(
            source_images=(_completed(series), *series.headers[1:]),
            pixel_array=segments,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_descriptions(task, classes, algorithm),
            series_instance_uid=_uid(seed, "series"),
            series_number=900,
            sop_instance_uid=_uid(seed, "instance"),
            instance_number=1,
            manufacturer="Kette",
            manufacturer_model_name="Kette",
            software_versions="1",
            device_serial_number="1",
            content_description=description,
            content_creator_name=creator,
            series_description=description,
            series_date=moment.date(),
            series_time=moment.time(),
            content_date=moment.date(),
            content_time=moment.time(),
            omit_empty_frames=bool(segments.any()),
        )
        _fix(seg, seed, moment)
        path.parent.mkdir(parents=True, exist_ok=True)
        seg.save_as(path)


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
    masks = _masks(seg, series.geometry, found)
    label_map = np.zeros(series.geometry.shape, np.uint8)
    for structure in task.structures:
        if structure.name in masks:
            label_map[masks[structure.name]] = structure.label
    return Labels(label_map, classes, str(seg.get("ContentCreatorName", "")))


def _masks(
    seg: Dataset, grid: Geometry, found: Mapping[int, Structure]
) -> dict[str, NDArray[np.bool_]]:
    """Structure's name → mask, frame by frame placed by position (SEG-1)."""
    frames = seg.pixel_array.reshape(-1, int(seg.Rows), int(seg.Columns))
    groups = seg.PerFrameFunctionalGroupsSequence
    if frames.shape[1:] != grid.shape[1:] or len(frames) != len(groups):
        raise _refusal("has frames of another shape than the series")
    if seg.SegmentationType == "FRACTIONAL":
        frames = frames >= 0.5 * int(seg.MaximumFractionalValue)
    shared = seg.SharedFunctionalGroupsSequence[0]
    masks = {structure.name: np.zeros(grid.shape, np.bool_) for structure in found.values()}
    for frame, group in zip(frames, groups, strict=True):
        structure = found.get(
            int(_macro(group, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        )
        if structure is not None:
            masks[structure.name][_slice(group, shared, grid)] |= frame.astype(np.bool_)
    return masks


def _slice(group: Dataset, shared: Dataset, grid: Geometry) -> int:
    """Index of the slice on which a frame lies."""
    orientation = _macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient
    pixel_mm = _macro(group, shared, "PixelMeasuresSequence").PixelSpacing
    if not np.allclose(
        np.array(orientation, dtype=np.float64), [*grid.axes[2], *grid.axes[1]], atol=1e-3
    ) or not np.allclose(np.array(pixel_mm, dtype=np.float64), grid.spacing_mm[1:], rtol=1e-3):
        raise _refusal("has another orientation or pixel spacing than the series")
    position = _macro(group, shared, "PlanePositionSequence").ImagePositionPatient
    offset = np.array(position, dtype=np.float64) - np.array(grid.origin_mm)
    index = np.array(grid.axes) @ offset / np.array(grid.spacing_mm)
    nearest = round(float(index[0]))
    if np.abs(index - [nearest, 0, 0]).max() > 0.1 or not 0 <= nearest < grid.shape[0]:
        raise _refusal("has a frame that lies on no slice of the series")
    return nearest


def _macro(group: Dataset, shared: Dataset, keyword: str) -> Any:
    """One functional group of a frame: its own, else the shared one."""
    return (group.get(keyword) or shared[keyword].value)[0]


def _folded(text: object) -> str:
    return str(text or "").strip().casefold()


def _descriptions(
    task: Task, classes: Mapping[str, str], algorithm: str | None
) -> list[SegmentDescription]:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    kinds = hd.seg.SegmentAlgorithmTypeValues
    identification = None
    if algorithm is not None:
        name, _, version = algorithm.rpartition(" ")
        family = codes.DCM.ArtificialIntelligence
        identification = hd.AlgorithmIdentificationSequence(name, family, version)
    described = []
    for number, structure in enumerate(task.structures, start=1):
        code = structure.code
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=structure.segment_label,
            segmented_property_category=hd.sr.CodedConcept(*_CATEGORY[structure.category]),
            segmented_property_type=hd.sr.CodedConcept(code.value, code.scheme, code.meaning),
            algorithm_type=kinds.MANUAL if algorithm is None else kinds.AUTOMATIC,
            algorithm_identification=identification,
        )
        if structure.name in classes:
            segment.SegmentDescription = classes[structure.name]
        described.append(segment)
    return described


def _completed(series: Series) -> Dataset:
    """The first header, with all that a SEG takes over from it.

    Patient and study are type 2 (PS3.3 C.7.1.1, C.7.2.1): present, perhaps empty; some exports
    leave them out. A slice without thickness is as thick as its distance to the next.
    """
    header = deepcopy(series.headers[0])
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    if not header.get("SliceThickness"):
        header.SliceThickness = series.geometry.spacing_mm[0]
    return header


def _fix(seg: Dataset, seed: str, moment: datetime) -> None:
    """Replace what highdicom takes from clock and chance (SEG-4)."""
    seg.InstanceCreationDate = moment.strftime("%Y%m%d")
    seg.InstanceCreationTime = moment.strftime("%H%M%S")
    dimension = _uid(seed, "dimension")
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimension
    for item in seg.get("ContributingEquipmentSequence", []):
        item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S")


def _uid(seed: str, purpose: str) -> str:
    """A UID of digits from a digest (DICOM PS3.5 Annex B.2, form 2.25)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{seed}/{purpose}'.encode()).digest()[:16])}"


def _refusal(what: str) -> Unreadable:
    return Unreadable(f"The segmentation {what}.", _REMEDY)
