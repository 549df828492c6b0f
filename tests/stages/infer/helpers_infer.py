"""A bundle made by hand around a two-line network, and studies to use it on."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    UltrasoundImageStorage,
)

from stages.archive import write_zip
from stages.artifact import FileEntry, Manifest
from stages.bundle import CONFIG, MANIFEST, MODELS, BundleConfig, Limits
from stages.params import Code, Network, Numerics, Structure, Task, Volume

PATCH = (8, 16, 16)
SHAPE = (10, 20, 18)
SPACING_MM = (2.0, 1.5, 1.25)
ORIENTATION = [0, 1, 0, 0, 0, -1]
"""Sagittal: rows run towards posterior, columns towards the feet."""
NORMAL = np.cross(ORIENTATION[:3], ORIENTATION[3:])
ORIGIN_MM = np.array([-12.0, 30.0, 40.0])
NAME = "Grünwald^Anneliese"
TASK = Task(
    modality="MR",
    structures=(
        Structure(
            name="bright",
            label=3,
            segment_label="Bright part",
            code=Code(value="5738006", scheme="SCT", meaning="Hippocampus"),
        ),
    ),
)
LIMITS = Limits.seen([(SHAPE, SPACING_MM)], margin=0.25)


@cache
def models() -> dict[str, bytes]:
    """A network that calls a voxel bright whose normalized value is above one."""
    import torch

    from stages.optimize.export import onnx_model, openvino_ir

    network = torch.nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1))
        network.bias.copy_(torch.tensor([1.0, 0.0]))  # type: ignore[union-attr]
    model = onnx_model(network, PATCH)
    with TemporaryDirectory() as name:
        folder = Path(name) / "openvino"
        openvino_ir(model, folder)
        return {
            MODELS["onnxruntime-cpu"]: model,
            MODELS["openvino-cpu"]: (folder / "model.xml").read_bytes(),
            "models/openvino/model.bin": (folder / "model.bin").read_bytes(),
        }


def members(limits: Limits = LIMITS, **changes: bytes) -> dict[str, bytes]:
    """A bundle's members; `changes` are made before the manifest is."""
    config = BundleConfig(
        name="toy",
        version="1.2.0",
        epoch=datetime(2026, 1, 1, tzinfo=UTC),
        task=TASK,
        volume=Volume(patch=PATCH),
        network=Network(),
        channels_out=2,
        numerics=Numerics(threads=1),
        models={name: MODELS[name] for name in ("onnxruntime-cpu", "openvino-cpu")},
        limits=limits,
    )
    found = {CONFIG: config.model_dump_json(by_alias=True).encode(), **models(), **changes}
    listed = tuple(
        FileEntry(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in sorted(found.items())
    )
    return {**found, MANIFEST: Manifest(files=listed).model_dump_json().encode()}


def bundle(path: Path, limits: Limits = LIMITS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_zip(path, members(limits).items())
    return path


def bright() -> np.ndarray:
    """Where the studies are bright: off center, so that a flipped axis shows."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[1:5, 3:11, 8:16] = True
    return mask


def voxels() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 40, SHAPE)
    return (noise + 800 * bright()).astype(np.uint16)


def instances(
    values: np.ndarray, number: int = 1, modality: str = "MR", drop: int | None = None
) -> dict[str, bytes]:
    """File name → instance, in an order of names that is not the slices'."""
    return {
        f"IM{(index * 7) % 97:04d}-{number}": _instance(plane, index, number, modality)
        for index, plane in enumerate(values)
        if index != drop
    }


def study(folder: Path, *groups: dict[str, bytes]) -> Path:
    for group in groups:
        for name, data in group.items():
            path = folder / "DICOM" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return folder


def study_zip(path: Path, group: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in group.items():
            archive.writestr(f"export/{name}", data)
    return path


def without(data: bytes, *keywords: str) -> bytes:
    """An instance that lacks some attributes."""
    ds = dcmread(BytesIO(data))
    for keyword in keywords:
        delattr(ds, keyword)
    return _bytes(ds)


def directory() -> bytes:
    """A DICOMDIR: a DICOM file that is no instance of a series."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    ds.FileSetID = "DISC"
    return _bytes(ds)


def _instance(plane: np.ndarray, index: int, number: int, modality: str) -> bytes:
    kind = MRImageStorage if modality == "MR" else UltrasoundImageStorage
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = kind
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{index + 1}"
    ds.SeriesInstanceUID, ds.StudyInstanceUID = f"1.2.3.{number}", "1.2.3"
    ds.FrameOfReferenceUID = "1.2.4"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = NAME, "4711", "19500401", "F"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240305", "101500", "7", "99"
    ds.SeriesDate, ds.SeriesTime = "20240306", "081530.25"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, number, index + 1
    ds.ImageOrientationPatient = ORIENTATION
    ds.ImagePositionPatient = [round(v, 4) for v in ORIGIN_MM + index * SPACING_MM[0] * NORMAL]
    ds.PixelSpacing = list(SPACING_MM[1:])
    ds.Rows, ds.Columns = plane.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = plane.astype("<u2").tobytes()
    return _bytes(ds)


def _bytes(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
