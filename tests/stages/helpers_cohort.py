"""A small cohort's tree, as the dataset stage writes it: DICOM series, consensus, two tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers_dicom import EPOCH, TASK, image_row, make_series, write_series_table
from numpy.typing import NDArray

from stages.segmentation_writer import write_labels
from stages.table import write_table

SHAPE = (8, 16, 16)


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


def add_subject(
    tree: Path, subject: str, seed: int, *, labeled: bool, lesion: bool = True
) -> dict[str, str]:
    """Write one subject's series (and consensus); its row of the series table."""
    hu, labels = anatomy(seed, lesion=lesion)
    series = make_series(tree / subject, subject, shape=SHAPE, stored=hu)
    if labeled:
        write_labels(
            tree / subject / "consensus" / f"{series.uid}.dcm",
            labels,
            series,
            TASK,
            seed=subject,
            epoch=EPOCH,
            description="Consensus",
            creator="reader-a",
        )
    return image_row(subject, series)


def make_cohort(tree: Path, splits: dict[str, int], *, lesion: bool = True) -> Path:
    """A cohort with so many subjects a split; two vendors take turns.

    Subjects are named `<split>-<number>`; all but the unlabeled have a consensus.
    """
    rows, assigned = [], []
    for start, (split, count) in enumerate(sorted(splits.items())):
        for number in range(count):
            subject = f"{split}-{number}"
            labeled = split != "unlabeled"
            rows.append(
                add_subject(tree, subject, 100 * start + number, labeled=labeled, lesion=lesion)
            )
            vendor = ("north", "south")[number % 2]
            assigned.append({"subject": subject, "split": split, "reason": "", "vendor": vendor})
    write_series_table(tree, rows)
    write_table(tree / "splits.parquet", assigned, dict.fromkeys(assigned[0], "string"))
    return tree
