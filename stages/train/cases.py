"""The cohort's series as training sees them: read, prepared, parted; and what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import Refused, Unreadable
from stages.cohort import Sample, load_case, read_cases
from stages.table import write_table
from stages.train.data import Data, check_shown
from stages.train.params import Parameters
from stages.train.source import make_source

SPLITS = ("train", "validation", "unlabeled")
"""What training may look at (TRN-2)."""
Skipped = list[dict[str, str]]


def read_samples(tree: Path, params: Parameters) -> tuple[list[Sample], Skipped]:
    """Every series of the splits, prepared; those that cannot be read are left out and told."""
    skipped: Skipped = []

    def samples() -> Iterator[Sample]:
        for case in read_cases(tree, params.task):
            if case.split not in SPLITS:
                continue
            try:
                yield load_case(case, params.task, params.volume)[1]
            except Unreadable as error:
                skipped.append(
                    {"subject": case.subject, "series": case.series, "reason": error.what}
                )

    return list(samples()), skipped


def part(samples: Sequence[Sample], params: Parameters) -> Data:
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
    labeled = [make_source(sample, params.task, labeled=True) for sample in training]
    check_shown(labeled, params.task)
    return Data(
        labeled=labeled,
        unlabeled=[make_source(sample, params.task, labeled=False) for sample in images],
        validation=validation,
        target=[make_source(sample, params.task, labeled=False) for sample in target],
        aside=aside,
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
            "split": sample.case.split,
            "image_sha256": _sha256(sample.prepared.array),
            "labels_sha256": None if sample.labels is None else _sha256(sample.labels),
            "label": sample.case.label,
        }
        for sample in samples
    ]
    write_table(path, rows, dict.fromkeys(rows[0], "string"))


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
