"""The cohort's series as training sees them: read, prepared, parted; and what they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audit.errors import Refused, Unreadable
from stages.artifact import digest_file
from stages.cohort import Case, Sample, load_case, read_cases
from stages.key import code_digest
from stages.table import write_table
from stages.train.cache import Arrays, Cache, sha256
from stages.train.data import Data, check_shown
from stages.train.params import Parameters
from stages.train.source import UNKNOWN, Source, blind, make_source
from stages.volume import Prepared

SPLITS = ("train", "validation", "unlabeled")
"""What training may look at (TRN-2)."""
Skipped = list[dict[str, str]]


def read_samples(tree: Path, params: Parameters, cache: Cache) -> tuple[list[Sample], Skipped]:
    """Every series of the splits, prepared; those that cannot be read are left out and told."""
    skipped: Skipped = []

    def samples() -> Iterator[Sample]:
        for case in read_cases(tree, params.task):
            if case.split not in SPLITS:
                continue
            try:
                made = cache.arrays(_key(case, params), partial(_prepared, case, params))
            except Unreadable as error:
                skipped.append(
                    {"subject": case.subject, "series": case.series, "reason": error.what}
                )
                continue
            z, y, x = made["spacing_mm"].tolist()
            depth, height, width = made["grid"].tolist()
            prepared = Prepared(made["array"], (z, y, x), (depth, height, width))
            yield Sample(case, prepared, made.get("labels"))

    return list(samples()), skipped


def _key(case: Case, params: Parameters) -> dict[str, Any]:
    """All that decides how a case is prepared."""
    return {
        "image": digest_file(case.image),
        "instance": case.sop,
        "resample": case.resample,
        "consensus": None if case.consensus is None else digest_file(case.consensus),
        "task": params.task.model_dump(mode="json"),
        "volume": params.volume.model_dump(mode="json"),
        "code": code_digest("train"),
    }


def _prepared(case: Case, params: Parameters) -> Arrays:
    sample = load_case(case, params.task, params.volume)[1]
    made: Arrays = {
        "array": sample.prepared.array,
        "spacing_mm": np.array(sample.prepared.spacing_mm),
        "grid": np.array(sample.prepared.grid),
    }
    return made if sample.labels is None else made | {"labels": sample.labels}


def part(samples: Sequence[Sample], params: Parameters, cache: Cache) -> Data:
    """What variants see: labeled training, all training and unlabeled images, validation (TRN-2).

    Raises:
        Refused: TRN-8, ADA-3.
    """
    training = [s for s in samples if s.case.split == "train" and _labeled(s)]
    validation = [s for s in samples if s.case.split == "validation" and _labeled(s)]
    images = [s for s in samples if s.case.split in ("train", "unlabeled")]
    target, aside = list[Sample](), list[Sample]()
    if params.train.adaptation is not None:
        vendors = frozenset(params.train.adaptation.vendors)
        target = [s for s in images if _of(s, vendors)]
        aside = [s for s in validation if not _of(s, vendors)]
        training = [s for s in training if not _of(s, vendors)]
        validation = [s for s in validation if _of(s, vendors)]
        _check_target(target, training, validation)
    for found, what in ((training, "training"), (validation, "validation")):
        if not found:
            raise Refused(
                f"No {what} subject has a labeled series.",
                "Annotate more subjects, or give that split a larger share in `dataset`.",
            )
    sources = {id(sample): _source(sample, params, cache) for sample in (*training, *images)}
    labeled = [sources[id(sample)] for sample in training]
    check_shown(labeled, params.task)
    return Data(
        labeled=labeled,
        unlabeled=[blind(sources[id(sample)]) for sample in images],
        validation=validation,
        target=[blind(sources[id(sample)]) for sample in target],
        aside=aside,
    )


def _source(sample: Sample, params: Parameters, cache: Cache) -> Source:
    """What patches are drawn from, its volume memory-mapped where there is a cache."""

    def arrays() -> Arrays:
        made = make_source(sample, params.task, labeled=_labeled(sample))
        found: Arrays = {"image": made.image.numpy(), "minimum": np.array([made.minimum])}
        if made.target is not None:
            found |= {"target": made.target.numpy(), "channels": np.array(made.channels)}
            found |= {f"voxels-{n}": voxels for n, voxels in enumerate(made.voxels)}
        return found

    made = cache.arrays(_key(sample.case, params) | {"for": "patches"}, arrays)
    channels = tuple(made["channels"].tolist()) if "channels" in made else ()
    names = [label.name for label in params.task.classes]
    return Source(
        image=torch.from_numpy(made["image"]),
        minimum=made["minimum"].item(),
        target=torch.from_numpy(made["target"]) if "target" in made else None,
        spacing_mm=sample.prepared.spacing_mm,
        voxels=tuple(made[f"voxels-{n}"] for n in range(len(channels))),
        channels=channels,
        label=names.index(sample.case.label) if sample.case.label else UNKNOWN,
        subject=sample.case.subject,
        vendor=sample.case.vendor,
    )


def _of(sample: Sample, vendors: frozenset[str]) -> bool:
    """Whether the subject was imaged by one of the vendors; a cohort joins several by a plus."""
    return not vendors.isdisjoint(sample.case.vendor.split(" + "))


def _check_target(
    target: Sequence[Sample], training: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    """Refuse a target that nothing is known of, or that leaves nothing to learn from (ADA-3)."""
    for samples, what in (
        (target, "training or unlabeled series of a vendor in `train.adaptation`"),
        (validation, "labeled validation series of a vendor in `train.adaptation`"),
        (training, "labeled training series of another vendor than those in `train.adaptation`"),
    ):
        if not samples:
            raise Refused(
                f"There is no {what}.",
                "Name vendors as the cohort's summary does, or ingest more of their series.",
            )


def _labeled(sample: Sample) -> bool:
    return sample.labels is not None or sample.case.label is not None


def write_preprocessing(path: Path, samples: Sequence[Sample]) -> None:
    """What each series was when training began: digests of its prepared volume and labels."""
    rows = [
        {
            "subject": sample.case.subject,
            "series": sample.case.series,
            "sop": sample.case.sop,
            "split": sample.case.split,
            "image_sha256": sha256(sample.prepared.array),
            "labels_sha256": None if sample.labels is None else sha256(sample.labels),
            "label": sample.case.label,
        }
        for sample in samples
    ]
    write_table(path, rows, dict.fromkeys(rows[0], "string"))
