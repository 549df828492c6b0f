"""A small hospital for the tests of ingest: slices, segmentations, a vault, and one call."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from stages.archive import read_zip
from stages.ingest import vault
from stages.ingest.params import IngestParams, Limits, Parameters
from stages.ingest.pixels import look_of
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw_write import IMPLEMENTATION
from stages.ingest.stage import STAGE
from stages.params import Code, Project, Structure, Task
from stages.stage import MergeContext, Outcome, Plan, PlanContext, RunContext
from stages.table import read_table

CT = "1.2.840.10008.5.1.4.1.1.2"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
ROOT = "1.2.826.0.1.3680043.10.9999"
NAME, PATIENT, BIRTH = "Krähwinkler^Leonore", "KH-4711-0815", "19431207"
TASK = Task(
    modality="CT",
    structures=(
        Structure(
            name="lesion",
            label=1,
            segment_label="Lesion",
            code=Code(value="52988006", scheme="SCT", meaning="Lesion"),
            category="abnormality",
            classes=("benign", "malignant"),
        ),
    ),
)


def parameters(**ingest: Any) -> Parameters:
    project = Project(name="test", epoch=datetime(2026, 1, 1, tzinfo=UTC))
    return Parameters(project=project, task=TASK, ingest=IngestParams(**ingest))


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def ct(index: int = 0, series: str = "1", **changes: Any) -> Dataset:
    """Slice `index` (3 mm apart) of a 4 × 4 CT series with identifiers in the usual places."""
    dataset = item(
        SpecificCharacterSet="ISO_IR 100",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SOPClassUID=CT,
        SOPInstanceUID=f"{ROOT}.{series}.{index + 1}",
        StudyDate="20240229",
        SeriesDate="20240229",
        AcquisitionDate="20240229",
        ContentDate="20240301",
        StudyTime="101112",
        AccessionNumber="ACC-998877",
        Modality="CT",
        Manufacturer="AURORA IMAGING",
        InstitutionName="Klinikum Krähwinkel",
        ReferringPhysicianName="Dr.^Quacksalber",
        StudyDescription="CT Thorax with contrast",
        SeriesDescription="thorax Leonore Krähwinkler",
        ManufacturerModelName="Helix 64",
        PatientName=NAME,
        PatientID=PATIENT,
        PatientBirthDate=BIRTH,
        PatientSex="F",
        SliceThickness="3",
        StudyInstanceUID=f"{ROOT}.77",
        SeriesInstanceUID=f"{ROOT}.{series}",
        StudyID="",
        SeriesNumber="1",
        InstanceNumber=str(index + 1),
        ImagePositionPatient=[0, 0, 3 * index],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        FrameOfReferenceUID=f"{ROOT}.88",
        PositionReferenceIndicator="",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=4,
        Columns=4,
        PixelSpacing=[1, 1],
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        RescaleIntercept="-1024",
        RescaleSlope="1",
        RescaleType="HU",
        PixelData=struct.pack("<16H", *range(index, index + 16)),
    )
    return change(dataset, **changes)


def seg(reader: str = "Reader^A", number: int = 1, series: str = "1", **changes: Any) -> Dataset:
    """A one-frame segmentation of slice 0 of a series, by one reader."""
    reference = item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=f"{ROOT}.{series}.1")
    dataset = ct(
        SOPClassUID=SEG,
        Modality="SEG",
        SOPInstanceUID=f"{ROOT}.9{number}.1",
        SeriesInstanceUID=f"{ROOT}.9{number}",
        ContentCreatorName=reader,
        NumberOfFrames="1",
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=b"\x0f\x00",
        ReferencedSeriesSequence=Sequence(
            [
                item(
                    SeriesInstanceUID=f"{ROOT}.{series}",
                    ReferencedInstanceSequence=Sequence([reference]),
                )
            ]
        ),
        SegmentSequence=Sequence([segment()]),
    )
    return change(dataset, **changes)


def segment(label: str = "LESION", description: str = "malignant", number: int = 1) -> Dataset:
    return item(
        SegmentNumber=number,
        SegmentLabel=label,
        SegmentDescription=description,
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyTypeCodeSequence=Sequence([code("52988006", "SCT", "Frau Krähwinkler")]),
    )


def code(value: str, scheme: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def change(dataset: Dataset, **changes: Any) -> Dataset:
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset, *, implicit: bool = False, preamble: bytes = bytes(128)) -> bytes:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.SourceApplicationEntityTitle = "KRAEHWINKEL_AE"
    dataset.preamble = preamble
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def save(folder: Path, *datasets: Dataset, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets, start=len(list(folder.iterdir()))):
        (folder / f"IM{number:04}").write_bytes(encoded(dataset, **options))
    return folder


def study(**changes: Any) -> list[Dataset]:
    """Five slices and reader A's segmentation."""
    return [*(ct(index, **changes) for index in range(5)), seg()]


def new_vault(folder: Path) -> Path:
    if not folder.exists():
        vault.create(folder)
    return folder


@dataclass(frozen=True)
class Result:
    plan: Plan
    units: dict[str, Path]
    outcomes: dict[str, Outcome]
    merged: Path
    outcome: Outcome

    def table(self, name: str) -> list[dict[str, Any]]:
        return read_table(self.merged / f"{name}.parquet")

    @property
    def reasons(self) -> list[str]:
        return sorted(row["reason"] for row in self.table("quarantine"))

    @property
    def members(self) -> dict[str, bytes]:
        """`<subject>/<series>/<sop>.dcm` → bytes."""
        return {
            f"{name}/{path.stem}/{member}": data
            for name, tree in self.units.items()
            for path in sorted(tree.glob("*.zip"))
            for member, data in read_zip(path, limit_bytes=1 << 24, limit_entries=999)
        }

    @property
    def datasets(self) -> list[Dataset]:
        return [pydicom.dcmread(BytesIO(data)) for data in self.members.values()]

    @property
    def files(self) -> dict[str, bytes]:
        """Every output byte: relative path → content."""
        trees = {**self.units, "merged": self.merged}
        return {
            f"{name}/{path.name}": path.read_bytes()
            for name, tree in trees.items()
            for path in sorted(tree.iterdir())
        }


def ingest(
    out: Path,
    *sources: Path,
    vault_folder: Path | None = None,
    params: Parameters | None = None,
    own: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> Result:
    """The whole stage, as its caller runs it."""
    params = params or parameters()
    plan = STAGE.plan(
        PlanContext(
            params=params, upstream={}, sources=sources, vault=vault_folder, own_outputs=own
        )
    )
    units, outcomes = {}, {}
    for unit in plan.units:
        units[unit.name] = out / unit.name
        units[unit.name].mkdir(parents=True)
        context = RunContext(params=params, trees={}, out=units[unit.name])
        outcomes[unit.name] = STAGE.run(unit, context)
    merged = out / "merged"
    merged.mkdir(parents=True)
    outcome = STAGE.merge(
        MergeContext(params=params, units=units, trees={}, notes=plan.notes, out=merged)
    )
    return Result(plan, units, outcomes, merged, outcome)


def parse(data: bytes, limits: Limits | None = None) -> Dataset:
    """A whole file as pydicom reads it, refused where the stage refuses its header."""
    try:
        source = pydicom.dcmread(BytesIO(data))
        said = look_of(source, "image").says_text
    except Exception:  # noqa: BLE001 - as the stage does
        raise Quarantined(Reason.CORRUPT) from None
    if said:
        raise Quarantined(Reason.BURNED_IN)
    return source


def encode(result: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A pseudonymized data set as pydicom writes it, with the product's own file meta."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION
    result.file_meta = meta
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, result, enforce_file_format=True)
    return buffer.getvalue()
