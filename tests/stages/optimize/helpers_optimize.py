"""A tiny cohort, a tiny trained network, and the stage run on them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from stages.archive import write_zip
from stages.optimize.params import OptimizeParams, Parameters
from stages.optimize.stage import STAGE
from stages.params import Code, Network, Numerics, Structure, Task, Volume
from stages.stage import MergeContext, Outcome, RunContext, Unit
from stages.table import write_table

PATCH = (16, 16, 16)
TASK = Task(
    modality="MR",
    structures=tuple(
        Structure(
            name=name,
            label=label,
            segment_label=name,
            code=Code(value="5738006", scheme="SCT", meaning="Hippocampus"),
        )
        for name, label in (("front", 1), ("back", 7))
    ),
)
NETWORK = Network(
    arguments={"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "INSTANCE"}
)


def parameters(**changes: object) -> Parameters:
    return Parameters(
        task=TASK,
        numerics=Numerics(threads=1),
        volume=Volume(patch=PATCH),
        network=NETWORK,
        optimize=OptimizeParams.model_validate({"series": 1, "timed_runs": 3} | changes),
    )


def cohort(folder: Path, splits: tuple[str, ...] = ("train", "validation", "test")) -> Path:
    """A subject for each split, with one MR series of 20 × 18 × 16 voxels each."""
    rows = []
    for number, split in enumerate(splits):
        subject, series = f"s-{number}", f"2.25.{number + 1}"
        (folder / subject).mkdir(parents=True)
        write_zip(folder / subject / f"{series}.zip", _slices(series, seed=number))
        rows.append({"subject": subject, "split": split, "reason": "", "vendor": "none"})
    columns = dict.fromkeys(("subject", "split", "reason", "vendor"), "string")
    write_table(folder / "splits.parquet", rows, columns)
    series_rows = [
        {"subject": f"s-{n}", "series": f"2.25.{n + 1}", "kind": "image", "modality": "MR"}
        for n in range(len(splits))
    ]
    columns = dict.fromkeys(("subject", "series", "kind", "modality"), "string")
    write_table(folder / "series.parquet", series_rows, columns)
    return folder


def trained(folder: Path, *, disturb: Callable[[object], None] = lambda module: None) -> Path:
    """The merged tree of `train`, with weights from a fixed seed."""
    import torch

    from stages.network import build, save

    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = build(NETWORK, TASK, Volume(patch=PATCH))
    disturb(module)
    save(module, folder / "model.safetensors")
    return folder


def optimized(out: Path, trees: dict[str, Path], params: Parameters) -> Outcome:
    out.mkdir(parents=True)
    return STAGE.run(Unit("targets", {}), RunContext(params, trees, out))


def merged(out: Path, tree: Path, params: Parameters) -> Outcome:
    out.mkdir(parents=True)
    return STAGE.merge(MergeContext(params, {"targets": tree}, {}, {}, out))


def _slices(series: str, seed: int) -> list[tuple[str, bytes]]:
    pixels = np.random.default_rng(seed).integers(0, 1000, (20, 18, 16)).astype(np.uint16)
    return [
        (f"{index:03d}.dcm", _slice(series, index, plane)) for index, plane in enumerate(pixels)
    ]


def _slice(series: str, index: int, plane: np.ndarray) -> bytes:
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = MRImageStorage
    instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = f"{series}.{index}"
    instance.SeriesInstanceUID = series
    instance.StudyInstanceUID = instance.FrameOfReferenceUID = f"{series}.0"
    instance.Modality = "MR"
    instance.ImagePositionPatient = [0, 0, index]
    instance.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    instance.PixelSpacing = [1, 1]
    instance.Rows, instance.Columns = plane.shape
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.BitsAllocated = instance.BitsStored = 16
    instance.HighBit, instance.PixelRepresentation = 15, 0
    instance.PixelData = plane.tobytes()
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
