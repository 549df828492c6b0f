"""The network's channels and the task's labels: which means which, in one place.

NumPy alone. The same in training, assessment, optimization and use.

Rules:

- CHN-1  Channel 0 is background; channel i is the i-th structure of the task.
- CHN-2  A voxel is given to the channel of the highest score after rounding to four decimals, the
         first of equals: noise in the last bits of a runtime flips no label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.params import Task


def channels_count(task: Task) -> int:
    """Channels of the network's output."""
    return len(task.structures) + 1


def to_channels(labels: NDArray[np.uint8], task: Task) -> NDArray[np.uint8]:
    """From a label map to channel indices; labels that are no structure's become background."""
    table = np.zeros(256, np.uint8)
    for channel, structure in enumerate(task.structures, start=1):
        table[structure.label] = channel
    return table[labels]


def to_labels(scores: NDArray[np.float32], task: Task) -> NDArray[np.uint8]:
    """From scores (channels, slices, rows, columns) to a label map (slices, rows, columns)."""
    values = np.array([0, *(structure.label for structure in task.structures)], np.uint8)
    labels: NDArray[np.uint8] = values[np.argmax(np.round(scores, 4), axis=0)]
    return labels
