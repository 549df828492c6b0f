"""A small cohort's tree, as the dataset stage writes it: DICOM series, consensus, two tables."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from stages.archive import write_zip
from stages.params import Code, Structure, Task
from stages.segmentation import write_labels
from stages.series import read_series
from stages.table import write_table

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TASK = Task(
    modality="CT",
    structures=(
        Structure(
            name="organ",
            label=2,
            segment_label="Organ",
            code=Code(value="10200004", scheme="SCT", meaning="Liver"),
        ),
        Structure(
            name="lesion",
            label=5,
            segment_label="Lesion",
            code=Code(value="4147007", scheme="SCT", meaning="Mass"),
            category="abnormality",
        ),
    ),
)
SHAPE = (8, 16, 16)
SPACING_MM = (2.0, 1.0, 1.0)


def uid(text: str) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15])}"


def anatomy(seed: int, *, lesion: bool = True) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A bright box (organ) with a brighter one within (lesion); HU and labels."""
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    top, left = (int(v) for v in random.integers(2, 6, size=2))
    labels[1:7, top : top + 9, left : left + 9] = 2
    if lesion:
        labels[2:6, top + 2 : top + 6, left + 2 : left + 6] = 5
    hu = np.select([labels == 2, labels == 5], [60, 160], -60) + random.normal(0, 8, SHAPE)
    return hu.astype(np.int16), labels


def series_bytes(name: str, hu: NDArray[np.int16]) -> list[tuple[str, bytes]]:
    """The instances of one CT series, as members of a zip."""
    members = []
    for index, plane in enumerate(hu):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = uid(f"{name}/{index}")
        ds.SeriesInstanceUID, ds.StudyInstanceUID = name, uid(f"{name}/study")
        ds.FrameOfReferenceUID = uid(f"{name}/frame")
        ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "s", "s", "", ""
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "000000", "", ""
        ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "", 1, index + 1
        ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "Test", "Model"
        ds.ImagePositionPatient = [0, 0, SPACING_MM[0] * index]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = list(SPACING_MM[1:]), SPACING_MM[0]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.PixelData = plane.astype("<i2").tobytes()
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        members.append((f"{ds.SOPInstanceUID}.dcm", buffer.getvalue()))
    return members


def add_subject(
    tree: Path, subject: str, seed: int, *, labeled: bool, lesion: bool = True
) -> dict[str, str]:
    """Write one subject's series (and consensus); its row of the series table."""
    name = uid(f"{subject}/series")
    hu, labels = anatomy(seed, lesion=lesion)
    (tree / subject).mkdir(parents=True)
    write_zip(tree / subject / f"{name}.zip", series_bytes(name, hu))
    if labeled:
        write_labels(
            tree / subject / "consensus" / f"{name}.dcm",
            labels,
            read_series(tree / subject / f"{name}.zip"),
            TASK,
            seed=name,
            epoch=EPOCH,
            description="Consensus",
            creator="reader-a",
        )
    return {"subject": subject, "series": name, "kind": "image", "modality": "CT"}


def make_cohort(tree: Path, splits: dict[str, int], *, lesion: bool = True) -> Path:
    """A cohort with so many subjects a split; vendors take turns.

    Subjects are named `<split>-<number>`; all but the unlabeled have a consensus.
    """
    rows, assigned = [], []
    for start, (split, count) in enumerate(sorted(splits.items())):
        for number in range(count):
            subject = f"{split}-{number}"
            seed = 100 * start + number
            rows.append(
                add_subject(tree, subject, seed, labeled=split != "unlabeled", lesion=lesion)
            )
            vendor = ("north", "south")[number % 2]
            assigned.append({"subject": subject, "split": split, "reason": "", "vendor": vendor})
    write_table(tree / "series.parquet", rows, dict.fromkeys(rows[0], "string"))
    write_table(tree / "splits.parquet", assigned, dict.fromkeys(assigned[0], "string"))
    return tree
