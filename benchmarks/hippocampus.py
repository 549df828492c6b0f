"""Dice against processor minutes on hippocampus (`python -m benchmarks.hippocampus FOLDER`).

The settings are those of the example `docs/examples/hippocampus`, trained from scratch. 160 of the
shared subjects train, the other 40 are measured, on the grid of their series, by the sliding window
of inference; the reference is reader A. Nothing is chosen on the 40: the line that counts is that
of the last epoch, and the peer is what nnU-Net is published with in cross-validation.

`--folds 5` trains and measures five times, each subject measured once; `--threads N` sets
`numerics.threads`; `--subjects N` and `--epochs N` make a trial run of it. FOLDER keeps the state
after each epoch: what was broken off goes on, with the minutes that it took before.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np

from flows.parameters import load
from stages.cohort import Case, Sample
from stages.network import pinned
from stages.segmentation import read_labels
from stages.series import read_series
from stages.train.batches import Batch, batches
from stages.train.checkpoint import Checkpoint
from stages.train.data import Data
from stages.train.loop import Course, Training
from stages.train.params import Parameters
from stages.train.regime import objective_of
from stages.train.scores import detail, evaluate
from stages.train.source import make_source
from stages.train.start import new_network
from stages.train.ways import Variant
from stages.volume import prepare

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "hippocampus"
SUBJECTS = ROOT.parent / "shared" / "data" / "hippocampus"

PARTS = 5
"""Of the subjects, one of which is measured."""
POINTS = 4
"""Of the curve."""
GOAL = {"anterior": 0.89, "posterior": 0.87}
PEER = {"anterior": 0.90, "posterior": 0.89}
"""nnU-Net in cross-validation, trained for hours on a GPU (Isensee et al. 2021)."""
LIMIT_MINUTES = 60.0
"""Of two cores."""


def main() -> None:
    """Train, measure and print."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.hippocampus")
    asked.add_argument("folder", type=Path)
    asked.add_argument("--folds", type=int, choices=(1, PARTS), default=1)
    asked.add_argument("--threads", type=int)
    asked.add_argument("--subjects", type=int)
    asked.add_argument("--epochs", type=int)
    options = asked.parse_args()
    if not SUBJECTS.is_dir():
        print("shared hippocampus: not here (../shared/data)")
        return
    params = settings(options.threads, options.epochs)
    paths = sorted(SUBJECTS.glob("*.zip"))[: options.subjects]
    samples = [read(path, params) for path in paths]
    order = np.random.default_rng(params.numerics.seed).permutation(len(samples))
    network = params.network.target.rpartition(".")[2]
    print(
        f"{network}, patch {params.volume.patch}, {params.train.epochs} epochs, "
        f"{params.numerics.threads} threads; Dice at processor minutes (and minutes) of training"
    )
    last = []
    for fold in range(options.folds):
        test = [samples[index] for place, index in enumerate(order) if place % PARTS == fold]
        train = [samples[index] for place, index in enumerate(order) if place % PARTS != fold]
        print(f"fold {fold + 1}: {len(train)} subjects train, {len(test)} are measured")
        place = options.folder / f"fold-{fold + 1}.safetensors"
        for line in curve(train, test, params, place):
            print(f"  {_told(line)}", flush=True)
        last.append(line)
    _print(last)


def settings(threads: int | None, epochs: int | None) -> Parameters:
    """The example's."""
    found = load(EXAMPLE / "params.yaml")
    numerics, train = found.numerics, found.train
    if threads:
        numerics = numerics.model_copy(update={"threads": threads})
    if epochs:
        train = train.model_copy(update={"epochs": epochs})
    return Parameters(
        task=found.task,
        numerics=numerics,
        volume=found.volume,
        network=found.network,
        train=train,
    )


def read(path: Path, params: Parameters) -> Sample:
    """One subject, with reader A's labels."""
    with TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        series = read_series(Path(folder) / "MR")
        labels = read_labels(Path(folder) / "SEG" / "reader-a.dcm", series, params.task)
    assert series.voxels is not None  # noqa: S101 - read with pixels
    prepared = prepare(series.voxels, series.geometry.spacing_mm, params.volume)
    case = Case(path.stem, "train", series.manufacturer, series.uid, Path(), None)
    return Sample(case, prepared, labels.map)


Line = dict[str, float]
"""Of the curve: `epoch`, `cpu` and `wall` (s of training alone), Dice by structure."""


def curve(
    train: Sequence[Sample], test: Sequence[Sample], params: Parameters, place: Path
) -> Iterable[Line]:
    """Train, or go on; a line after some of the epochs, the last among them."""
    section, numerics, task = params.train, params.numerics, params.task
    sources = [make_source(sample, task, labeled=True) for sample in train]
    data = Data(labeled=sources, unlabeled=sources, validation=())
    points = {round(section.epochs * n / POINTS) for n in range(1, POINTS + 1)}
    checkpoint = Checkpoint(place)
    with pinned(numerics):
        module, _ = new_network(params.network, task, params.volume, numerics.seed)
        training = Training(
            module,
            objective_of(Variant(name="scratch"), module, data, params),
            Course.of("variant scratch", section.epochs, numerics.seed, section, numerics),
        )
        what = params.model_dump_json(by_alias=True, exclude_defaults=True)
        what += repr([sample.case.subject for sample in train])
        lines: list[Line] = []
        spent, done = [0.0, 0.0], 0
        saved = checkpoint.load()
        if saved is not None and saved[1]["what"] == what:
            training.restore(saved[0])
            lines, spent, done = (saved[1][name] for name in ("lines", "spent", "done"))
        yield from lines

        def drawn(epoch: int) -> Iterator[Batch]:
            return batches(sources, epoch, params.volume.patch, section, numerics.seed)

        begun = [time.process_time(), time.perf_counter()]
        for epoch in training.run(drawn, after=done):
            now = [time.process_time(), time.perf_counter()]
            spent = [s + n - b for s, n, b in zip(spent, now, begun, strict=True)]
            measured = epoch.number in points
            if measured:
                dice = detail(evaluate(training.result, test, task, params.volume), task)
                line = {"epoch": epoch.number, "cpu": spent[0], "wall": spent[1]}
                line |= {name.removeprefix("dice_"): value or 0.0 for name, value in dice.items()}
                lines.append(line)
            facts = {"what": what, "lines": lines, "spent": spent, "done": epoch.number}
            checkpoint.save(training.state(), facts, now=measured)
            if measured:
                yield lines[-1]
            begun = [time.process_time(), time.perf_counter()]


def _told(line: Line) -> str:
    dice = ", ".join(f"{name} {line[name]:.3f}" for name in GOAL)
    cpu, wall = line["cpu"] / 60, line["wall"] / 60
    return f"epoch {line['epoch']:3.0f}, {cpu:6.1f} min ({wall:6.1f} min): {dice}"


def _print(last: Sequence[Line]) -> None:
    """The mean over folds, after the last epoch, beside goal and peer."""
    wall = max(line["wall"] for line in last) / 60
    for name, goal in GOAL.items():
        dice = fmean(line[name] for line in last)
        print(
            f"{name}: {dice:.3f} (goal {goal:.2f}); nnU-Net {PEER[name]:.2f} (published), "
            f"ratio {dice / PEER[name]:.3f}"
        )
    print(f"longest training {wall:.1f} min (goal {LIMIT_MINUTES:.0f} min on two cores)")


if __name__ == "__main__":
    main()
