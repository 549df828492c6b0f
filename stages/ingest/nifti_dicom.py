"""A NIfTI image and its sidecar as DICOM instances: single-frame CT or MR, and SEG for labels.

Rules:

- NII-3  Right, front, head (RAS) becomes left, back, head (LPS) by two signs; each slice carries
         its own position, so oblique grids stay exact and sheared ones are found as such.
- NII-4  The bytes depend on voxels, affine and sidecar alone, not on file names, compression or
         other text of the header. UIDs are digests of them, which ingestion replaces by keyed ones.
- NII-5  No date is made up: one that is the same for all would give away how far a subject's are
         moved.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from audit.errors import Unreadable
from stages.ingest.nifti_box import REMEDY, Volume
from stages.ingest.nifti_sidecar import LabelMap, Sidecar
from stages.ingest.nifti_stored import Stored, stored_of
from stages.params import Code, Structure, Task
from stages.segmentation_writer import make_labels
from stages.series import series_of
from stages.stack import ALIKE

_GRID: Final = 1e-3
"""Highest difference of two affines on one grid (mm, a voxel)."""
_UNUSED: Final = datetime(2000, 1, 1, tzinfo=UTC)
_TISSUE: Final = Code(value="85756007", scheme="SCT", meaning="Tissue")
_EMPTY: Final = (
    "PatientName",
    "PatientBirthDate",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyTime",
    "PositionReferenceIndicator",
    "AcquisitionNumber",
)
_OWN: Final = {
    "CT": {"KVP": None, "RescaleType": "HU"},
    "MR": {
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": None,
        "MRAcquisitionType": None,
        "EchoTime": None,
        "EchoTrainLength": None,
    },
}
"""Attributes of type 1 and 2 that one modality has and the other has not."""


class Converted:
    """An image that can be written slice by slice."""

    def __init__(self, volume: Volume, sidecar: Sidecar) -> None:
        """Check that it can be.

        Raises:
            Unreadable: the grid's axes are none, or skewed within a slice (NII-3), or NII-2.
        """
        self._sidecar = sidecar
        self._volume = volume
        self._stored: Stored = stored_of(volume)
        lengths = np.linalg.norm(volume.affine[:, :3], axis=0)
        if lengths.min() <= ALIKE:
            raise _refusal("has an axis of no length")
        self._row, self._column = (volume.affine[:, axis] / lengths[axis] for axis in (0, 1))
        if abs(float(self._row @ self._column)) > ALIKE:
            raise _refusal("is skewed within its slices")
        self._spacing = float(lengths[1]), float(lengths[0])
        normal = np.cross(self._row, self._column)
        self._thickness = abs(float(volume.affine[:, 2] @ normal))
        self._uid = _digest(
            sidecar.patient_id,
            sidecar.modality,
            volume.affine.tolist(),
            [volume.slope, volume.inter],
            volume.voxels.dtype.str[1:],
            volume.voxels.astype(volume.voxels.dtype.newbyteorder("<"), copy=False),
        )

    def __len__(self) -> int:
        return len(self._volume.voxels)

    @property
    def pixel_bytes(self) -> int:
        """Of one instance."""
        return 2 * int(self._volume.voxels[0].size)

    def slice(self, index: int, *, pixels: bool = True) -> Dataset:
        """Slice k as an instance; without pixels, its header."""
        said = self._sidecar
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if said.modality == "CT" else "OTHER"]
        ds.SOPClassUID = CTImageStorage if said.modality == "CT" else MRImageStorage
        ds.SOPInstanceUID = _uid(self._uid, index)
        study = f"{said.patient_id}/{said.study}" if said.study else self._uid
        ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(study, "study"), _uid(self._uid, "series")
        ds.FrameOfReferenceUID = _uid(self._uid, "frame")
        ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = (
            said.modality, said.manufacturer, said.model,
        )  # fmt: skip
        ds.StudyDate, ds.PatientID, ds.PatientSex = (
            said.study_date, said.patient_id, said.patient_sex,
        )  # fmt: skip
        ds.StudyID = said.study[:16]
        for keyword in _EMPTY:
            setattr(ds, keyword, None)
        for keyword, text in (
            ("PatientAge", said.patient_age),
            ("BodyPartExamined", said.body_part),
            ("SeriesDescription", said.description),
        ):
            if text:
                setattr(ds, keyword, text)
        for keyword, value in _OWN[said.modality].items():
            setattr(ds, keyword, value)
        ds.SeriesNumber, ds.InstanceNumber = 1, index + 1
        self._place(ds, index)
        ds.Rows, ds.Columns = self._volume.voxels.shape[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = self._stored.intercept, self._stored.slope
        plane = self._stored.plane(index).astype("<i2").tobytes() if pixels else b""
        ds.add_new("PixelData", "OW", plane)
        return ds

    def labels(self, volume: Volume, said: LabelMap) -> Dataset:
        """A reader's label map as a segmentation of the image.

        Raises:
            Unreadable: it lies on another grid, or holds values without a name.
        """
        same = volume.voxels.shape == self._volume.voxels.shape
        if not same or np.abs(volume.affine - self._volume.affine).max() > _GRID:
            raise _refusal("has labels on another grid")
        named = {int(value): label for value, label in said.segments.items()}
        if max(named) > 254 or not set(np.unique(volume.voxels).tolist()) <= {0, *named}:
            raise _refusal("has labels without a name")
        task = Task(
            modality=self._sidecar.modality,
            structures=tuple(
                Structure(name=f"segment-{value}", label=value, segment_label=label, code=_TISSUE)
                for value, label in sorted(named.items())
            ),
        )
        series = series_of(
            [self.slice(index, pixels=False) for index in range(len(self))],
            pixels=False,
            resample=True,
        )
        order = {_uid(self._uid, index): index for index in range(len(self))}
        frames: NDArray[np.uint8] = np.stack(
            [volume.voxels[order[uid]].astype(np.uint8) for uid in series.sop_uids]
        )
        seg = make_labels(
            series.regrid.labels(frames) if series.regrid else frames,
            series,
            task,
            seed=_digest(self._uid, said.reader, sorted(named.items()), frames),
            epoch=_UNUSED,
            description="labels",
            creator=said.reader,
        )
        _undate(seg)
        return seg

    def _place(self, ds: Dataset, index: int) -> None:
        position = self._volume.affine[:, 3] + index * self._volume.affine[:, 2]
        ds.ImagePositionPatient = _numbers(*position)
        ds.ImageOrientationPatient = _numbers(*self._row, *self._column)
        ds.PixelSpacing, ds.SliceThickness = _numbers(*self._spacing), _numbers(self._thickness)[0]


def encoded(ds: Dataset) -> bytes:
    """A DICOM file of an instance."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _undate(seg: Dataset) -> None:
    """Take out every date and time that was made up (NII-5)."""
    for keyword in (
        "ContributingEquipmentSequence",
        "InstanceCreationDate",
        "InstanceCreationTime",
    ):
        seg.pop(keyword, None)
    for ds in (seg, *seg.get("SegmentSequence", ())):
        for element in ds:
            if element.VR in ("DA", "TM", "DT") and element.keyword != "StudyDate":
                element.value = None


def _numbers(*values: float) -> list[str]:
    return [format_number_as_ds(float(value) + 0.0) for value in values]


def _digest(*parts: Any) -> str:
    state = hashlib.sha256()
    for part in parts:
        array = isinstance(part, np.ndarray)
        data = part.reshape(-1).view(np.uint8).data if array else repr(part).encode()
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()


def _uid(seed: str, what: object) -> str:
    """A UID of digits from a digest (DICOM PS3.5 Annex B.2, form 2.25)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{seed}/{what}'.encode()).digest()[:16])}"


def _refusal(what: str) -> Unreadable:
    return Unreadable(f"A NIfTI image {what}.", REMEDY)
