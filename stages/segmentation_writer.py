"""Writing label maps of a series as DICOM SEG objects; reading is in `stages/segmentation.py`.

Rules:

- SEG-4  A written object's bytes depend on its arguments alone: UIDs are digests of the seed,
         dates and times are the epoch's.
- SEG-5  A frame of a written object is a frame of the series: at its position, referring to it. Of
         a series that was resampled the label map is carried back to the acquired frames, so that
         nothing refers to an image that does not exist.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from stages.frames import PER_FRAME, SHARED
from stages.params import Task
from stages.series import Series

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

LabelMap = NDArray[np.uint8]
"""(slices, rows, columns); values are the labels of the task's structures, 0 is background."""

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
        label_map: as all others, see `make_labels`.
        series: the series that it segments.
        task: its structures.
        seed: what makes the object unique.
        epoch: content, series and creation time.
        description: of series and content.
        classes: structure's name → class label.
        algorithm: name and version; None if drawn by hand.
        creator: ContentCreatorName.
    """
    seg = make_labels(
        label_map,
        series,
        task,
        seed=seed,
        epoch=epoch,
        description=description,
        classes=classes,
        algorithm=algorithm,
        creator=creator,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        seg.save_as(path)


def make_labels(
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
) -> Dataset:
    """Make a BINARY SEG object of a label map (SEG-4, SEG-5).

    Args:
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
    on_frames = series.regrid.to_frames(label_map) if series.regrid else label_map
    segments = np.zeros_like(on_frames)
    for number, structure in enumerate(task.structures, start=1):
        segments[on_frames == structure.label] = number
    if series.frames:  # an enhanced instance: its own order of frames
        segments = segments[np.argsort(series.frames)]
    moment = epoch.astimezone(UTC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        seg: Dataset = hd.seg.Segmentation(
            source_images=(_completed(series), *series.headers[1:]),
            pixel_array=segments,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_descriptions(task, classes, algorithm),
            series_instance_uid=digest_uid(seed, "series"),
            series_number=900,
            sop_instance_uid=digest_uid(seed, "instance"),
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
    return seg


def completed_patient(header: Dataset) -> Dataset:
    """A copy of a header with all of patient and study that an object made from it takes over.

    Both are type 2 (PS3.3 C.7.1.1, C.7.2.1): present, perhaps empty; some exports leave them out.
    """
    header = deepcopy(header)
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _completed(series: Series) -> Dataset:
    """The first header, with all that a SEG takes over from it.

    A slice without thickness is as thick as its distance to the next.
    """
    header = completed_patient(series.headers[0])
    if not header.get("SliceThickness"):
        header.SliceThickness = series.geometry.spacing_mm[0]
    if series.frames:
        _share(header)
    return header


def _share(header: Dataset) -> None:
    """State once what is alike in the frames of an enhanced instance, as highdicom reads it."""
    shared, first = header[SHARED].value[0], header[PER_FRAME].value[0]
    for group in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if group not in shared:
            setattr(shared, group, first[group].value)


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


def _fix(seg: Dataset, seed: str, moment: datetime) -> None:
    """Replace what highdicom takes from clock and chance (SEG-4)."""
    seg.InstanceCreationDate = moment.strftime("%Y%m%d")
    seg.InstanceCreationTime = moment.strftime("%H%M%S")
    dimension = digest_uid(seed, "dimension")
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimension
    for item in seg.get("ContributingEquipmentSequence", []):
        item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S")


def digest_uid(seed: str, purpose: str) -> str:
    """A UID of digits from a digest (DICOM PS3.5 Annex B.2, form 2.25)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{seed}/{purpose}'.encode()).digest()[:16])}"
