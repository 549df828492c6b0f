"""A cohort in a few lines: trees of ingest and annotate as the dataset stage reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from stages.archive import write_zip
from stages.dataset.params import DatasetParams, Parameters
from stages.dataset.stage import STAGE, UNIT
from stages.params import ClassLabel, Code, Project, Structure, Task
from stages.stage import MergeContext, Outcome, PlanContext, RunContext, Upstream
from stages.table import write_table

TEXT = "string"
IDS = ["subject", "study", "series"]
SERIES = dict.fromkeys(
    [*IDS, "modality", "kind", "reader", "annotates", "manufacturer", "model"], TEXT
)
INSTANCES = dict.fromkeys(["subject", "series", "sop"], TEXT)
QUARANTINE = dict.fromkeys(["input_sha256", "reason"], TEXT)
AGREEMENT = dict.fromkeys(["subject", "series", "structure", "reader_a", "reader_b"], TEXT)
CLASS_LABELS = dict.fromkeys([*IDS, "sop", "label", "reader"], TEXT)
CLASSES = dict.fromkeys(["subject", "series", "sop", "class"], TEXT)
CLASS_AGREEMENT = dict.fromkeys(["subject", "series", "sop", "reader_a", "reader_b"], TEXT)
LABELS = dict.fromkeys(["subject", "series", "structure", "class"], TEXT)
QUEUE = dict.fromkeys(["subject", "series", "reason"], TEXT)
STRUCTURES = ("lesion",)


@dataclass(frozen=True)
class Person:
    """One ingested subject."""

    name: str
    vendor: str = "Vendor A"
    consensus: bool = True
    annotated: bool = True
    queued: str = ""
    image: str = ""
    """Subjects of one image text have the same pixels; empty: their own."""
    slices: int = 3
    studies: int = 1
    structures: tuple[str, ...] = STRUCTURES
    label: str | None = None
    """Class of its first series; empty: labeled, but without a class."""
    kind: str = "image"
    modality: str = "CT"


def people(count: int, vendors: Sequence[str] = ("Vendor A", "Vendor B")) -> list[Person]:
    return [Person(f"s-{i:04d}", vendor=vendors[i % len(vendors)]) for i in range(count)]


def parameters(
    structures: Sequence[str] = STRUCTURES,
    classes: Sequence[str] = (),
    modality: Literal["CT", "MR", "US"] = "CT",
    **dataset: object,
) -> Parameters:
    return Parameters(
        project=Project(name="test", epoch=datetime(2026, 1, 1, tzinfo=UTC)),
        task=Task(
            modality=modality,
            classes=tuple(
                ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
                for name in classes
            ),
            structures=tuple(
                Structure(
                    name=name,
                    label=i,
                    segment_label=name,
                    code=Code(value="52988006", scheme="SCT", meaning="Lesion"),
                )
                for i, name in enumerate(structures, 1)
            ),
        ),
        dataset=DatasetParams.model_validate(dataset),
    )


@dataclass(frozen=True)
class Upstreams:
    ingest: Upstream
    annotate: Upstream

    @property
    def trees(self) -> dict[str, Path]:
        trees = {"ingest": self.ingest.merged[1], "annotate": self.annotate.merged[1]}
        trees |= {f"ingest/{name}": tree for name, (_, tree) in self.ingest.units.items()}
        return trees | {f"annotate/{name}": tree for name, (_, tree) in self.annotate.units.items()}


def upstreams(folder: Path, cohort: Sequence[Person]) -> Upstreams:
    """Write what ingest and annotate would have made of these people; all files read-only."""
    ingest, annotate = {}, {}
    series, labels, queue, classes, instances = [], [], [], [], []
    for person in cohort:
        unit = folder / "ingest" / person.name
        unit.mkdir(parents=True)
        ingest[person.name] = ("0" * 64, unit)
        row = {"subject": person.name, "manufacturer": person.vendor, "model": ""}
        for study in range(person.studies):
            uid = f"{person.name}-{study}"
            _write_series(unit / f"{uid}.zip", uid, person.image or uid, person.slices)
            image = {"study": f"{uid}-study", "series": uid}
            image |= {"modality": person.modality, "kind": person.kind}
            instances += [{"subject": person.name, "series": uid, "sop": "0"}]
            series.append(row | image | {"reader": "", "annotates": ""})
            if person.annotated:
                (unit / f"{uid}-a.zip").write_bytes(uid.encode())
                note = image | {"series": f"{uid}-a", "modality": "SEG", "kind": "annotation"}
                series.append(row | note | {"reader": "reader-a", "annotates": uid})
        if person.consensus and person.annotated:
            path = folder / "annotate" / person.name / "consensus" / f"{person.name}-0.dcm"
            path.parent.mkdir(parents=True)
            path.write_bytes(person.name.encode())
            annotate[person.name] = ("1" * 64, path.parent.parent)
            labels += [
                {"subject": person.name, "series": f"{person.name}-0", "structure": s, "class": ""}
                for s in person.structures
            ]
        if person.label is not None:
            sop = "0" if person.kind == "picture" else ""
            case = {"subject": person.name, "series": f"{person.name}-0", "sop": sop}
            classes.append(case | {"class": person.label})
        if person.queued:
            queue.append({"subject": person.name, "series": "", "reason": person.queued})
    whole = folder / "ingest-merged", folder / "annotate-merged"
    write_table(whole[0] / "series.parquet", series, SERIES)
    write_table(whole[0] / "instances.parquet", instances, INSTANCES)
    write_table(whole[0] / "class_labels.parquet", [], CLASS_LABELS)
    write_table(whole[1] / "classes.parquet", classes, CLASSES)
    write_table(whole[1] / "class_agreement.parquet", [], CLASS_AGREEMENT)
    write_table(whole[0] / "quarantine.parquet", [], QUARANTINE)
    write_table(whole[1] / "agreement.parquet", [], AGREEMENT)
    write_table(whole[1] / "labels.parquet", labels, LABELS)
    write_table(whole[1] / "queue.parquet", queue, QUEUE)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    return Upstreams(
        ingest=Upstream(units=ingest, merged=("2" * 64, whole[0])),
        annotate=Upstream(units=annotate, merged=("3" * 64, whole[1])),
    )


@dataclass(frozen=True)
class Result:
    tree: Path
    merged: Path
    run: Outcome
    merge: Outcome


def make(folder: Path, given: Upstreams, params: Parameters) -> Result:
    """Run the stage: plan, run, merge."""
    up = {"ingest": given.ingest, "annotate": given.annotate}
    planned = STAGE.plan(PlanContext(params=params, upstream=up))
    (unit,) = planned.units
    assert unit.inputs.keys() == given.trees.keys()
    tree, merged = folder / "tree", folder / "merged"
    tree.mkdir(parents=True)
    merged.mkdir()
    ran = STAGE.run(unit, RunContext(params=params, trees=given.trees, out=tree))
    ended = STAGE.merge(
        MergeContext(
            params=params, units={UNIT: tree}, trees=given.trees, notes=planned.notes, out=merged
        )
    )
    return Result(tree=tree, merged=merged, run=ran, merge=ended)


def _write_series(path: Path, uid: str, image: str, slices: int) -> None:
    generator = np.random.default_rng(list(image.encode()))
    pixels = [generator.integers(0, 1000, (4, 4)) for _ in range(slices)]
    pixels[-1] = np.zeros((4, 4))  # air: alike in everybody
    write_zip(path, [(f"{i}.dcm", _instance(uid, i, array)) for i, array in enumerate(pixels)])


def _instance(uid: str, number: int, pixels: np.ndarray) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    instance.SOPClassUID, instance.SOPInstanceUID = CTImageStorage, "1.2.3"
    instance.StudyInstanceUID, instance.SeriesInstanceUID = "1.2.4", "1.2.5"
    instance.FrameOfReferenceUID, instance.Modality = "1.2.6", "CT"
    instance.PatientID = uid
    instance.Rows, instance.Columns, instance.SamplesPerPixel = 4, 4, 1
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 16, 15
    instance.PixelRepresentation, instance.PhotometricInterpretation = 0, "MONOCHROME2"
    instance.ImageOrientationPatient, instance.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
    instance.ImagePositionPatient = [0, 0, number]
    instance.PixelData = pixels.astype("<u2").tobytes()
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, instance, enforce_file_format=True)
    return buffer.getvalue()
