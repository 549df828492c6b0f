"""Sources that show something: a bright box with a brighter one within, on noise."""

from __future__ import annotations

import numpy as np
from helpers_dicom import TASK

from stages.cohort import Case, Sample
from stages.params import Task
from stages.train.source import Source, make_source
from stages.volume import Prepared


def source(
    shape: tuple[int, int, int],
    seed: int,
    *,
    labeled: bool = True,
    task: Task = TASK,
    striped: bool = False,
) -> Source:
    """One volume; both structures of the task in it, its class the first or second by turns.

    Args:
        shape: slices, rows, columns.
        seed: of place and noise.
        labeled: or nobody said anything about it.
        task: whose classes.
        striped: across its rows, as widely as only one of eight volumes is.
    """
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    rows, columns = (int(n) // 2 for n in shape[1:])
    top, left = int(random.integers(0, rows)), int(random.integers(0, columns))
    labels[:, top : top + rows, left : left + columns] = 2
    labels[:, top + 1 : top + rows // 2, left + 1 : left + columns // 2] = 5
    shown = np.select([labels == 2, labels == 5], [1.0, 2.0], -1.0)
    if striped:
        shown += np.sin(np.arange(shape[1]) * (0.4 + 0.3 * (seed % 8)))[None, :, None]
    array = (shown + random.normal(0, 0.1, shape)).astype(np.float32)
    name = task.classes[seed % len(task.classes)].name if task.classes else None
    case = Case(f"s{seed}", "train", "v", "1", None, None, name)  # type: ignore[arg-type] - unopened
    sample = Sample(case, Prepared(array, (1.0, 1.0, 1.0), shape), labels)
    return make_source(sample, task, labeled=labeled)
