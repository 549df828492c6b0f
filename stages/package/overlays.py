"""Slices of test series with the readers' consensus and the network's prediction drawn on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from stages.package import charts
from stages.package.document import PNG, Figure, show
from stages.params import Task, Volume
from stages.segmentation import read_labels
from stages.series import Series, read_series
from stages.stack import Fit, fit_of
from stages.table import read_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Mask = NDArray[np.uint8]
Window = tuple[slice, slice]

_COLORS = ("#ffd54a", "#4dd0e1", "#ff8a80", "#b9f6ca", "#ea80fc", "#ffab40", "#82b1ff")
"""Bright on gray scale images, one a structure."""
_LINES: tuple[Any, Any] = ("solid", (0, (2, 1.2)))
"""Consensus, prediction."""
_MARGIN = 6
"""Pixels around the structure in the close-up."""


def overlays(
    cohort: Path,
    test: Path,
    scores: Sequence[Mapping[str, Any]],
    *,
    task: Task,
    volume: Volume,
    n: int,
) -> Iterator[Figure]:
    """Draw `n` test series, spread evenly from the worst to the best mean Dice.

    Args:
        cohort: the dataset's tree.
        test: the tree of the test's predictions.
        scores: a row a series and structure.
        task: names and labels of the structures.
        volume: its window is the gray scale, if it has one.
        n: how many.
    """
    fits = {row["series"]: fit_of(row) for row in read_table(cohort / "series.parquet")}
    for subject, series in spread(scores, n):
        own = {r["structure"]: r["dice"] for r in scores if r["series"] == series}
        resample = fits[series] is Fit.RESAMPLE
        scan = read_series(cohort / subject / f"{series}.zip", resample=resample)
        name = f"{series}.dcm"
        truth = read_labels(cohort / subject / "consensus" / name, scan, task).map
        found = read_labels(test / "predictions" / subject / name, scan, task).map
        yield _overlay(scan, truth, found, subject=subject, dice=own, task=task, volume=volume)


def spread(scores: Sequence[Mapping[str, Any]], n: int) -> list[tuple[str, str]]:
    """Subject and series of `n` results, evenly spread over their ranks, worst first."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in scores:
        if row["dice"] is not None:
            found.setdefault((row["subject"], row["series"]), []).append(row["dice"])
    ranked = sorted(found, key=lambda key: (round(sum(found[key]) / len(found[key]), 6), key))
    if len(ranked) <= n:
        return ranked
    last = len(ranked) - 1
    return [ranked[round(i * last / max(1, n - 1))] for i in range(n)]


def _overlay(
    scan: Series,
    truth: Mask,
    found: Mask,
    *,
    subject: str,
    dice: Mapping[str, float | None],
    task: Task,
    volume: Volume,
) -> Figure:
    voxels = scan.voxels
    assert voxels is not None, "the series was read with pixels"  # noqa: S101 - for the type
    place = _telling_slice(truth, found)
    low, high = volume.window or tuple(float(v) for v in np.percentile(voxels, (1, 99)))
    gray = np.clip((voxels[place] - low) / max(high - low, 1e-6), 0, 1)
    _, row_mm, column_mm = scan.geometry.spacing_mm
    drawn = _draw(np.round(gray * 255), truth[place], found[place], task, row_mm / column_mm)
    results = ", ".join(f"{name} {show(value)}" for name, value in sorted(dice.items()))
    words = f"slice {place + 1} of {len(voxels)}"
    return Figure(
        media=PNG,
        data=drawn,
        alt=(
            f"Test subject {subject}, {words}, whole and enlarged: outlines of the consensus "
            f"(solid) and of the prediction (dashed). Dice: {results}."
        ),
        caption=f"Subject {subject}, {words}. Dice of the series: {results}.",
        wide=False,
    )


def _telling_slice(truth: Mask, found: Mask) -> int:
    """The slice with the most voxels of the consensus, else of the prediction."""
    area = (truth > 0).sum(axis=(1, 2)) * truth.size + (found > 0).sum(axis=(1, 2))
    return int(area.argmax()) if area.any() else len(truth) // 2


def _draw(gray: NDArray[Any], truth: Mask, found: Mask, task: Task, aspect: float) -> bytes:
    with charts.style():
        canvas = Canvas(figsize=(6, 3.4), layout="constrained", facecolor="#10161d")
        panels = canvas.subplots(1, 2)
        whole = (slice(0, gray.shape[0]), slice(0, gray.shape[1]))
        for axes, window in zip(panels, (whole, _around(truth, found, task, aspect)), strict=True):
            _panel(axes, gray, outlines=(truth, found), task=task, window=window, aspect=aspect)
        for index, structure in enumerate(task.structures):
            panels[0].plot([], [], color=_color(index), label=structure.name)
        panels[0].plot([], [], color="white", label="consensus")
        panels[0].plot([], [], color="white", ls=_LINES[1], label="prediction")
        canvas.legend(
            loc="outside lower center", ncols=4, labelcolor="white", fontsize=10, handlelength=2.2
        )
        return charts.png(canvas)


def _panel(
    axes: Axes,
    gray: NDArray[Any],
    *,
    outlines: tuple[Mask, Mask],
    task: Task,
    window: Window,
    aspect: float,
) -> None:
    rows, columns = window
    axes.imshow(gray, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="bilinear")
    for index, structure in enumerate(task.structures):
        for labels, line in zip(outlines, _LINES, strict=True):
            mask = labels == structure.label
            if mask.any():
                axes.contour(
                    mask.astype(np.float64),
                    levels=[0.5],
                    colors=[_color(index)],
                    linewidths=1.3,
                    linestyles=[line],
                )
    axes.set(
        xlim=(columns.start - 0.5, columns.stop - 0.5),
        ylim=(rows.stop - 0.5, rows.start - 0.5),
    )
    axes.set_axis_off()


def _around(truth: Mask, found: Mask, task: Task, aspect: float) -> Window:
    """A square around the slice's smallest structure; the whole slice if it shows none."""
    masks = [(truth == s.label) | (found == s.label) for s in task.structures]
    shown = [np.argwhere(mask) for mask in masks if mask.any()]
    if not shown:
        return slice(0, truth.shape[0]), slice(0, truth.shape[1])
    places = min(shown, key=len)
    low, high = places.min(axis=0), places.max(axis=0)
    extent = high - low + 2 * _MARGIN
    side = max(extent[0] * aspect, extent[1])
    rows, columns = (
        slice(max(0, round(center - half)), min(size, round(center + half) + 1))
        for center, half, size in zip(
            (low + high) / 2, (side / aspect / 2, side / 2), truth.shape, strict=True
        )
    )
    return rows, columns


def _color(index: int) -> str:
    return _COLORS[index % len(_COLORS)]
