"""The trees of the earlier stages, small but real: DICOM series, SEG objects, weights, tables."""

from __future__ import annotations

import hashlib
import json
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from stages.archive import write_zip
from stages.artifact import Manifest
from stages.package.params import Parameters
from stages.package.results import Results
from stages.package.stage import STAGE
from stages.segmentation import write_labels
from stages.series import read_series
from stages.stage import (
    Check,
    Gate,
    MergeContext,
    Outcome,
    PlanContext,
    RunContext,
    Unit,
    Upstream,
    Verdict,
)
from stages.table import write_table

SHAPE = (20, 40, 40)
HOSTILE = '<script>alert("x")</script> & $\\frac{1}{2}$'
VENDORS = ("Alpha Imaging", "Beta Med", HOSTILE)
SPLITS = {
    "s-train00001": "train",
    "s-train00002": "train",
    "s-train00003": "train",
    "s-valid00001": "validation",
    "s-test000001": "test",
    "s-test000002": "test",
    "s-test000003": "test",
    "s-unlab00001": "unlabeled",
    "s-exclu00001": "excluded",
}
LABELED = tuple(s for s, split in SPLITS.items() if split in ("train", "validation", "test"))
READERS = ("reader-a", "reader-b", "reader-c")


def parameters(**package: Any) -> Parameters:
    return Parameters.model_validate(
        {
            "project": {"name": "phantom", "epoch": datetime(2026, 11, 1, tzinfo=UTC)},
            "task": {
                "modality": "CT",
                "structures": [
                    {
                        "name": "organ",
                        "label": 1,
                        "segment_label": "Organ",
                        "code": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"},
                    },
                    {
                        "name": "lesion",
                        "label": 2,
                        "segment_label": "Lesion",
                        "category": "abnormality",
                        "code": {"value": "52988006", "scheme": "SCT", "meaning": "Lesion"},
                    },
                ],
            },
            "numerics": {"threads": 1},
            "volume": {"patch": (16, 32, 32), "window": (-200.0, 300.0)},
            "network": {
                "_target_": "monai.networks.nets.SegResNet",
                "arguments": {"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,)},
            },
            "package": {
                "version": "1.2.3",
                "title": "Lesions of a phantom organ",
                "intended_use": f"For tests. {HOSTILE}",
                "authors": "The phantom team",
                "copyright": "Copyright 2026 The phantom team",
                "overlays": 2,
                **package,
            },
        }
    )


MEASURED: dict[str, Any] = {
    "ingest": {},
    "train": {
        "seconds": {"reading": 0.5, "scratch": 12.5, "finetuned": 11.25},
        "cpu_seconds": {"reading": 0.25, "scratch": 24.5, "finetuned": 22.0},
        "peak_memory_mib": 1234,
    },
    "assess": {"looks": 2},
    "optimize": {
        "latency_s": {
            name: {"median": value, "fastest": value, "slowest": value, "runs": 5}
            for name, value in (("pytorch", 0.2), ("onnxruntime-cpu", 0.04), ("openvino-cpu", 0.03))
        },
        "patch": [16, 32, 32],
        "threads": 1,
    },
}
GATES = {
    "ingest": Gate(),
    "train": Gate(
        checks=(
            Check(
                rule="TRN-6",
                figure="validation score 0.900 of finetuned",
                limit="at least 0.5 (train.min_score)",
                verdict=Verdict.PASSED,
            ),
            Check(
                rule="TRN-7",
                figure="pre-training changes the best validation score by +0.005 "
                "(90% interval -0.010 to +0.020): no benefit",
                limit="more than 0.01 (train.margin)",
                verdict=Verdict.FINDINGS,
                remedy="Argue for the choice without it, or drop the ways that start from it.",
            ),
        )
    ),
}
RESOLVED: dict[str, Any] = {
    "assess": {"confidence": 0.9},
    "package": {"version": "1.2.3"},
    "train": {
        "variants": [{"name": name} for name in ("scratch", "frozen", "finetuned")],
        "epochs": 4,
        "margin": 0.01,
        "comparison": {
            "seeds": 3,
            "screening_epochs": [2],
            "screening_keep": 0.5,
            "rule": "mean",
            "confidence": 0.9,
            "resamples": 2000,
        },
    },
}

EMPTY = Results(
    series=[],
    splits=[],
    quarantine=[],
    agreement=[],
    queue=[],
    candidate={},
    comparison=[],
    histories={},
    metrics=[],
    scores=[],
    equivalence=[],
)
"""Tables of nothing."""


def write_trees(root: Path) -> dict[str, Path]:
    """All trees that `package` reads, by label."""
    params = parameters()
    trees = {
        label: root / label.replace("/", "-")
        for label in (
            *("ingest", "annotate", "dataset", "train", "assess", "optimize"),
            *("dataset/cohort", "train/variants", "assess/test", "optimize/targets"),
        )
    }
    for tree in trees.values():
        tree.mkdir(parents=True)
    (trees["ingest"] / "empty.json").write_text("{}")
    (trees["dataset"] / "summary.json").write_text("{}")
    _cohort(trees, params)
    _train(trees, params)
    _assess(trees)
    _optimize(trees)
    return trees


def plan_of(trees: dict[str, Path], params: Parameters, measured: dict[str, Any]) -> Unit:
    def entry(path: Path) -> tuple[str, Path]:
        return Manifest.of(path).digest, path

    upstream = {
        stage: Upstream(
            units={
                label.partition("/")[2]: entry(path)
                for label, path in trees.items()
                if label.startswith(f"{stage}/")
            },
            merged=entry(trees[stage]),
        )
        for stage in STAGE.after
    }
    context = PlanContext(params, upstream, measured=measured, gates=GATES, resolved=RESOLVED)
    (unit,) = STAGE.plan(context).units
    return unit


def run_stage(
    trees: dict[str, Path], out: Path, measured: dict[str, Any] = MEASURED, **package: Any
) -> tuple[Path, Path, Outcome]:
    """Run and merge; give back the unit's folder, the merged folder and the end."""
    params = parameters(**package)
    unit = plan_of(trees, params, measured)
    folder, merged = out / "unit", out / "merged"
    folder.mkdir(parents=True)
    merged.mkdir()
    STAGE.run(unit, RunContext(params, trees, folder))
    outcome = STAGE.merge(MergeContext(params, {"bundle": folder}, trees, {}, merged))
    return folder, merged, outcome


def uid(*parts: object) -> str:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def write_series(subject: str, vendor: str) -> list[tuple[str, bytes]]:
    """A CT series: an ellipsoid with a bright lesion; instance numbers against the normal."""
    voxels = _voxels(subject)
    entries = []
    for index, plane in enumerate(voxels):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid(index, subject)
        instance = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        instance.SOPClassUID, instance.SOPInstanceUID = CTImageStorage, uid(index, subject)
        instance.PatientID = instance.PatientName = subject
        instance.PatientBirthDate = instance.PatientSex = instance.AccessionNumber = ""
        instance.StudyDate, instance.StudyTime, instance.StudyID = "20200101", "120000", ""
        instance.ReferringPhysicianName = ""
        instance.StudyInstanceUID, instance.SeriesInstanceUID = (
            uid("st", subject),
            series_of(subject),
        )
        instance.FrameOfReferenceUID, instance.PositionReferenceIndicator = uid("f", subject), ""
        instance.Modality, instance.Manufacturer, instance.SeriesNumber = "CT", vendor, 1
        instance.ManufacturerModelName = "One"
        instance.InstanceNumber = len(voxels) - index
        instance.ImagePositionPatient = [-30, -25, 2.0 * index]
        instance.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        instance.PixelSpacing, instance.SliceThickness = [1.5, 1.5], 2
        instance.Rows, instance.Columns = plane.shape
        instance.SamplesPerPixel, instance.PhotometricInterpretation = 1, "MONOCHROME2"
        instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 16, 15
        instance.PixelRepresentation = 1
        instance.RescaleSlope, instance.RescaleIntercept = 1, -1000
        instance.PixelData = plane.astype("<i2").tobytes()
        buffer = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(buffer, instance, enforce_file_format=True)
        entries.append((f"{uid(index, subject)}.dcm", buffer.getvalue()))
    return entries


def series_of(subject: str) -> str:
    return uid("se", subject)


def labels_of(subject: str, grow: float = 0.0) -> np.ndarray:
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    shift = sum(map(ord, subject)) % 4
    labels = np.zeros(SHAPE, np.uint8)
    organ = ((z - 10) / 8) ** 2 + ((y - 20) / 13) ** 2 + ((x - 18 - shift) / 14) ** 2
    labels[organ < 1 + grow] = 1
    labels[(z - 11) ** 2 + (y - 22) ** 2 + (x - 16) ** 2 < 16 + 10 * grow + shift] = 2
    return labels


def _voxels(subject: str) -> np.ndarray:
    rng = np.random.default_rng(sum(map(ord, subject)))
    values = np.array([900, 1060, 1130])[labels_of(subject)]
    return np.round(values + rng.normal(0, 12, SHAPE))


def _cohort(trees: dict[str, Path], params: Parameters) -> None:
    cohort = trees["dataset/cohort"]
    series, splits, agreement = [], [], []
    for number, (subject, split) in enumerate(SPLITS.items()):
        vendor = VENDORS[number % 3]
        splits.append(
            {
                "subject": subject,
                "split": split,
                "reason": "no consensus" if split == "excluded" else "",
                "vendor": vendor,
            }
        )
        name = series_of(subject)
        write_zip_of(cohort / subject / f"{name}.zip", write_series(subject, vendor))
        row = {"subject": subject, "series": name, "kind": "image", "modality": "CT"}
        series.append(row | {"vendor": vendor})
        if subject in LABELED:
            write_seg(cohort, subject, cohort / subject / "consensus" / f"{name}.dcm", params)
            agreement += [
                {
                    "subject": subject,
                    "series": name,
                    "structure": structure.name,
                    "reader_a": a,
                    "reader_b": b,
                    "dice": 0.8 + 0.02 * number,
                    "hd95_mm": None if number == 0 else 2.5,
                    "nsd": 0.9,
                }
                for structure in params.task.structures
                for a, b in (("reader-a", "reader-b"), ("reader-a", "reader-c"))
            ]
    _table(cohort / "series.parquet", series)
    _table(cohort / "splits.parquet", splits)
    _table(cohort / "agreement.parquet", agreement)
    _table(
        cohort / "quarantine.parquet",
        [{"input_sha256": "0" * 64, "reason": "not a DICOM file"}] * 2,
    )
    _table(
        trees["annotate"] / "queue.parquet",
        [{"subject": LABELED[0], "series": "", "reason": "readers disagree"}],
    )


def write_seg(
    cohort: Path, subject: str, path: Path, params: Parameters, grow: float = 0.0
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan = read_series(cohort / subject / f"{series_of(subject)}.zip", pixels=False)
        write_labels(
            path,
            labels_of(subject, grow),
            scan,
            params.task,
            seed=f"{subject}{grow}",
            epoch=params.project.epoch,
            description="labels",
            creator="consensus",
        )


def write_zip_of(path: Path, entries: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_zip(path, entries)


def _train(trees: dict[str, Path], params: Parameters) -> None:
    import torch

    from stages.network import build, save

    torch.manual_seed(7)
    save(build(params.network, params.task, params.volume), trees["train"] / "model.safetensors")
    candidate = {"schema_version": 1, "variant": "finetuned", "channels_out": 3}
    candidate |= {"weights_sha256": "ab" * 32}
    (trees["train"] / "candidate.json").write_text(json.dumps(candidate))
    variants = trees["train/variants"]
    _table(trees["train"] / "comparison.parquet", [compared(*row) for row in COMPARED])
    _table(
        trees["train"] / "curves.parquet",
        [
            {"variant": name, "labels": n, "seeds": 3, "score": score - 1 / n}
            | {"lowest": score - 2 / n, "highest": score}
            for name, score in COMPARED
            for n in (5, 20)
        ],
    )
    _table(
        variants / "trials.parquet",
        [trial(name, "screening", f"screening/1/{name}") for name in (*dict(COMPARED), "lora")]
        + [trial(name, "final", name) for name in dict(COMPARED)],
    )
    for name, score in COMPARED:
        _table(
            variants / name / "history.parquet",
            [
                {
                    "epoch": epoch,
                    "loss": 1.0 / (epoch + score),
                    "score": score - 0.1 / epoch if epoch % 2 == 0 else None,
                }
                for epoch in range(1, 5)
            ],
        )
        pretrained = name != "scratch"
        result = {
            "start": "masked" if pretrained else "random",
            "new_tensors": ["head.bias", "head.weight"] if pretrained else [],
            "unused_tensors": [],
        }
        (variants / name / "result.json").write_text(json.dumps(result))
    _table(
        variants / "pretraining" / "masked" / "history.parquet",
        [{"epoch": epoch, "loss": 0.3 / epoch} for epoch in range(1, 4)],
    )


COMPARED = (("scratch", 0.81), ("frozen", 0.77), ("finetuned", 0.9))


def compared(variant: str, score: float, best: float = 0.9) -> dict[str, Any]:
    """A row of `comparison.parquet`; the best one is selected."""
    return {
        "variant": variant,
        "score": score,
        "score_low": score - 0.05,
        "score_high": score + 0.05,
        "difference": score - best,
        "difference_low": score - best - 0.02 * (score != best),
        "difference_high": score - best + 0.02 * (score != best),
        "p": 1.0 if score == best else 0.02,
        "dice_lesion": score - 0.05,
        "trained_parameters": 12345,
        "parameters": 54321,
        "epochs": 4,
        "selected_epoch": 4,
        "selected": score == best,
    }


def trial(variant: str, part: str, name: str) -> dict[str, Any]:
    """A row of `trials.parquet`."""
    return {"trial": name, "part": part, "variant": variant, "epochs": 2, "score": 0.5}


def _assess(trees: dict[str, Path]) -> None:
    params = parameters()
    scores, metrics = [], []
    tests = [subject for subject, split in SPLITS.items() if split == "test"]
    for number, subject in enumerate(tests):
        path = trees["assess/test"] / "predictions" / subject / f"{series_of(subject)}.dcm"
        write_seg(trees["dataset/cohort"], subject, path, params, grow=0.2 + 0.1 * number)
        scores += [
            {
                "subject": subject,
                "series": series_of(subject),
                "vendor": VENDORS[list(SPLITS).index(subject) % 3],
                "structure": structure,
                "dice": 0.9 - 0.1 * number if structure == "organ" or number else None,
            }
            for structure in ("organ", "lesion")
        ]
    for group in ("all", *(f"vendor={vendor}" for vendor in VENDORS)):
        metrics += [
            {
                "group": group,
                "structure": structure,
                "n": 3 if group == "all" else 1,
                "dice_mean": 0.8,
                "ci_low": 0.7 if group == "all" else None,
                "ci_high": 0.9 if group == "all" else None,
                "hd95_mm_mean": 3.25,
                "nsd_mean": None,
            }
            for structure in ("organ", "lesion")
        ]
    _table(trees["assess/test"] / "scores.parquet", scores)
    _table(trees["assess"] / "metrics.parquet", metrics)


def _optimize(trees: dict[str, Path]) -> None:
    tree = trees["optimize/targets"]
    (tree / "openvino").mkdir()
    (tree / "model.onnx").write_bytes(b"the ONNX model")
    (tree / "openvino" / "model.xml").write_bytes(b"<net/>")
    (tree / "openvino" / "model.bin").write_bytes(b"the weights")
    rows: list[dict[str, Any]] = [
        {
            "target": target,
            "precision": "f32",
            "built": target != "tensorrt-rtx",
            "ran": target != "tensorrt-rtx",
            "reason": "not built here: no compiler" if target == "tensorrt-rtx" else "",
            "max_abs_difference": None if target == "tensorrt-rtx" else 1e-5,
            "dice_to_reference": None if target == "tensorrt-rtx" else 1.0,
        }
        for target in ("onnxruntime-cpu", "openvino-cpu", "tensorrt-rtx")
    ]
    _table(tree / "equivalence.parquet", rows)
    targets = [
        {"target": row["target"], "verdict": "equivalent" if row["ran"] else "not built"}
        for row in rows
    ]
    (trees["optimize"] / "targets.json").write_text(json.dumps({"targets": targets}))


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    kinds = {str: "string", bool: "bool", int: "int64", float: "double"}
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        columns[name] = kinds[type(values[0])] if values else "double"
    write_table(path, rows, columns)


def dataset_of(data: bytes) -> Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
