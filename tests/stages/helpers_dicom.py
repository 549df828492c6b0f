"""Tiny DICOM series and readers' segmentations, as they lie in a tree of the stage ingest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from stages.archive import read_zip, write_zip
from stages.params import Code, Structure, Task
from stages.series import Series, read_series
from stages.table import write_table

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
"""Direction cosines of a row and of a column: two perpendicular unit vectors off every axis."""

ORGAN = Structure(
    name="organ",
    label=2,
    segment_label="Organ",
    code=Code(value="10200004", scheme="SCT", meaning="Liver"),
)
LESION = Structure(
    name="lesion",
    label=5,
    segment_label="Lesion",
    code=Code(value="4147007", scheme="SCT", meaning="Mass"),
    category="abnormality",
    classes=("benign", "malignant"),
)
TASK = Task(modality="CT", structures=(ORGAN, LESION))


def uid(text: str) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15])}"


def box(shape: tuple[int, int, int], *sides: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask that is True within [start, stop) of each axis."""
    mask = np.zeros(shape, np.bool_)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def make_series(folder: Path, name: str = "scan", **options: Any) -> Series:
    """Write `<series-uid>.zip` into a folder and read it back; options as of `write_series`."""
    return read_series(write_series(folder, name, **options))


def write_series(
    folder: Path,
    name: str,
    *,
    shape: tuple[int, int, int] = (8, 16, 16),
    spacing_mm: tuple[float, float, float] = (2.0, 1.0, 1.0),
    orientation: Sequence[float] = AXIAL,
    vendor: str = "North",
    modality: str = "CT",
    stored: NDArray[np.int16] | None = None,
    slope: float = 1,
    intercept: float = 0,
    edit: Callable[[list[Dataset]], list[Dataset]] = lambda slices: slices,
) -> Path:
    """Write `<series-uid>.zip` into a folder.

    Args:
        folder: where to.
        name: seeds all UIDs.
        shape: (slices, rows, columns).
        spacing_mm: in the same order.
        orientation: ImageOrientationPatient.
        vendor: Manufacturer.
        modality: CT or MR.
        stored: stored values of the pixels; each slice its index if not given.
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        edit: changes the instances (given in spatial order) before they are written.
    """
    if stored is None:
        stored = np.broadcast_to(np.arange(shape[0], dtype=np.int16)[:, None, None], shape)
    normal = np.cross(orientation[:3], orientation[3:])
    slices = []
    for index, plane in enumerate(stored):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        ds.SOPInstanceUID = uid(f"{name}/{index}")
        ds.SeriesInstanceUID, ds.StudyInstanceUID = uid(name), uid(f"{name}/study")
        ds.FrameOfReferenceUID = uid(f"{name}/frame")
        ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "s", "s^", "", ""
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "000000", "", ""
        ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "", 1, shape[0] - index
        ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = modality, vendor, "Model"
        position = np.array([-20.0, 10.0, 5.0]) + index * spacing_mm[0] * normal
        ds.ImagePositionPatient = [f"{value:.6f}" for value in position]
        ds.ImageOrientationPatient = list(orientation)
        ds.PixelSpacing, ds.SliceThickness = list(spacing_mm[1:]), spacing_mm[0]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        ds.PixelData = plane.astype("<i2").tobytes()
        slices.append(ds)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uid(name)}.zip"
    write_zip(path, [(f"{ds.SOPInstanceUID}.dcm", encode(ds)) for ds in edit(slices)])
    return path


def encode(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_seg(
    folder: Path,
    series: Series,
    masks: Mapping[str, NDArray[np.bool_]],
    reader: str,
    *,
    classes: Mapping[str, str] = {},
    edit: Callable[[Dataset], None] = lambda seg: None,
) -> str:
    """Write one reader's segmentation as `<its-series-uid>.zip`, by highdicom alone.

    Args:
        folder: where to.
        series: what it annotates.
        masks: segment label → mask on the grid of the series; masks may overlap.
        reader: ContentCreatorName.
        classes: segment label → SegmentDescription.
        edit: changes the object before it is written.

    Returns:
        The UID of the segmentation's own series.
    """
    name = uid(f"{series.uid}/{reader}/{len(list(folder.iterdir()))}")
    descriptions = []
    for number, label in enumerate(masks, start=1):
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomy"),
            segmented_property_type=hd.sr.CodedConcept("10200004", "SCT", "Liver"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        if label in classes:
            segment.SegmentDescription = classes[label]
        descriptions.append(segment)
    seg = hd.seg.Segmentation(
        source_images=list(series.headers),
        pixel_array=np.stack(list(masks.values()), axis=-1),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=name,
        series_number=100,
        sop_instance_uid=uid(f"{name}/0"),
        instance_number=1,
        manufacturer="Bench",
        manufacturer_model_name="Bench",
        software_versions="1",
        device_serial_number="1",
    )
    seg.ContentCreatorName = reader  # highdicom doubts names of one part
    edit(seg)
    write_zip(folder / f"{name}.zip", [(f"{seg.SOPInstanceUID}.dcm", encode(seg))])
    return name


def seg_bytes(folder: Path, name: str) -> bytes:
    """The segmentation that `make_seg` wrote."""
    ((_, data),) = read_zip(folder / f"{name}.zip", limit_bytes=2**30, limit_entries=1)
    return data


def image_row(subject: str, series: Series) -> dict[str, str]:
    """A row of `series.parquet` for an image."""
    return _row(subject, series, series.uid, modality=series.modality, kind="image")


def annotation_row(subject: str, series: Series, name: str, reader: str) -> dict[str, str]:
    """A row of `series.parquet` for a segmentation."""
    row = _row(subject, series, name, modality="SEG", kind="annotation")
    return row | {"reader": reader, "annotates": series.uid}


def write_series_table(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    columns = ("subject", "study", "series", "modality", "kind", "reader", "annotates")
    more = [column for column in (rows[0] if rows else ()) if column not in columns]
    names = (*columns, *(more or ["manufacturer"]))
    write_table(folder / "series.parquet", rows, dict.fromkeys(names, "string"))


def _row(subject: str, series: Series, name: str, *, modality: str, kind: str) -> dict[str, str]:
    return {
        "subject": subject,
        "study": series.study_uid,
        "series": name,
        "modality": modality,
        "kind": kind,
        "reader": "",
        "annotates": "",
        "manufacturer": series.manufacturer,
    }
