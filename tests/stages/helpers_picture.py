"""Small pictures as ultrasound instances, and cohorts of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from helpers_dicom import encode, uid
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from stages.archive import write_zip
from stages.params import ClassLabel, Code, Task
from stages.table import write_table

NAMES = ("dark", "bright")
TASK = Task(
    modality="US",
    classes=tuple(
        ClassLabel(name=name, code=Code(value=f"K-{name}", scheme="99TEST", meaning=name.title()))
        for name in NAMES
    ),
)
SIDE = 24
SERIES = ("subject", "study", "series", "modality", "kind", "manufacturer")


def picture(name: str, pixels: NDArray[Any], **changes: Any) -> Dataset:
    """An ultrasound instance.

    Args:
        name: seeds its UIDs; what stands before the last `/` names its series.
        pixels: uint8, (rows, columns), (frames, rows, columns), or color with a last axis of 3.
        changes: keyword → value; None removes.
    """
    color = pixels.shape[-1] == 3
    frames = pixels.shape[0] if pixels.ndim == (4 if color else 3) else 1
    series = name.rpartition("/")[0] or name
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = UltrasoundImageStorage if frames == 1 else UltrasoundMultiFrameImageStorage
    ds.SOPInstanceUID, ds.SeriesInstanceUID = uid(name), uid(series)
    ds.StudyInstanceUID = uid(f"{series}/study")
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "s", "s^", "", ""
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "000000", "", ""
    ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "", 1, 1
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "US", "North", "Model"
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if color else pixels.shape[-2:]
    if frames > 1:
        ds.NumberOfFrames = frames
    ds.SamplesPerPixel = 3 if color else 1
    ds.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = pixels.astype(np.uint8).tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def shade(seed: int, label: str) -> NDArray[np.uint8]:
    """A noisy picture whose middle is as bright as its label says."""
    random = np.random.default_rng(seed)
    pixels = random.normal(60, 10, (SIDE, SIDE))
    pixels[8:16, 8:16] += {"dark": -30, "bright": 120}[label]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_pictures(folder: Path, *instances: Dataset) -> Path:
    """`<series>.zip` of instances of one series."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{instances[0].SeriesInstanceUID}.zip"
    entries = [(f"{ds.SOPInstanceUID}.dcm", encode(ds)) for ds in instances]
    write_zip(path, entries)
    return path


def make_pictures(tree: Path, splits: Mapping[str, int]) -> Path:
    """A cohort of so many subjects a split, one picture each, labels and vendors taking turns.

    Subjects are named `<split>-<number>`; all but the unlabeled have a class.
    """
    series, instances, classes, assigned = [], [], [], []
    for start, (split, count) in enumerate(sorted(splits.items())):
        for number in range(count):
            subject, label = f"{split}-{number}", NAMES[number % 2]
            one = picture(f"{subject}/0", shade(100 * start + number, label))
            write_pictures(tree / subject, one)
            row = {"subject": subject, "series": str(one.SeriesInstanceUID)}
            series.append(
                row
                | {"study": str(one.StudyInstanceUID), "modality": "US", "kind": "picture"}
                | {"manufacturer": "North"}
            )
            instances.append(row | {"sop": str(one.SOPInstanceUID)})
            if split != "unlabeled":
                classes.append(row | {"sop": str(one.SOPInstanceUID), "class": label})
            vendor = ("north", "south")[(number // 2) % 2]
            assigned.append({"subject": subject, "split": split, "reason": "", "vendor": vendor})
    tables: dict[str, tuple[list[dict[str, str]], tuple[str, ...]]] = {
        "series": (series, SERIES),
        "ingest": (instances, ("subject", "series", "sop")),
        "classes": (classes, ("subject", "series", "sop", "class")),
        "splits": (assigned, ("subject", "split", "reason", "vendor")),
    }
    for name, (rows, columns) in tables.items():
        write_table(tree / f"{name}.parquet", rows, dict.fromkeys(columns, "string"))
    return tree
