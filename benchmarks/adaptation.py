"""Adaptation between scanners: how much of what labels of the target would bring, each way brings.

`python -m benchmarks.adaptation`. Two cohorts, each with a planted scanner: a curve that bends
intensities but keeps their order, a bias field, a blur along the slices' axis, and noise, of every
target subject, in the units of its DICOM files; preparation, z-score or window, and augmentation
are the same for all. On the phantom the target has another vendor's voxels, kernel and noise
besides. Of the hippocampus (shared data) the planted scanner is all that differs.

Labels come from the source's training subjects; of the target's training subjects the images are
known, and their labels only to the trainings that are the upper bound. Test subjects are the
target's, looked at once, after the last epoch: no epoch is chosen by them. Intervals are percentile
bootstraps over seeds and test subjects. A finished trial lies in the cache, and is not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.few_labels import by_subject
from stages.params import Code, Network, Numerics, Structure, Task, Volume
from stages.train.params import Adaptation, Parameters, TrainParams
from stages.train.ways import PRESETS, Variant

if TYPE_CHECKING:
    from stages.cohort import Sample

ROOT = Path(__file__).parents[1]
IMAGES = ROOT.parent / "shared" / "data" / "hippocampus"
EXAMPLE = ROOT / "docs" / "examples" / "hippocampus" / "params.yaml"
TRAINING, TEST = 16, 12
"""Subjects: so many of the source, as many of the target to train on, and the target's others."""
EPOCHS, BATCH = 10, 2
GAMMA, BIAS, BLUR, NOISE = 0.5, 0.2, 1.0, 0.03
"""Of the planted scanner: exponent, SD of the bias field's logarithm, SD of the blur in voxels, SD
of the noise as a share of the range."""
NULL, BOUND = "source only", "labels of the target"
WAYS = {NULL: "none"} | {name: row["adapt"] for name, row in PRESETS.items() if "adapt" in row}
RESAMPLES = 5000
ORDER = (NULL, *(way for way in WAYS if way != NULL), BOUND)
Voxels = NDArray[np.float32]
Figures = NDArray[np.float64]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Cohort:
    """One cohort: what is asked of its images, and where they come from."""

    name: str
    task: Task
    volume: Volume
    steps: int
    read: Callable[[], Iterator[tuple[str, Voxels, Spacing, NDArray[np.uint8], bool]]]
    """Name, voxels in physical units, spacing (mm), labels, and whether it is the target's."""

    def params(self, seed: int) -> Parameters:
        """Of one trial."""
        return Parameters(
            task=self.task,
            numerics=Numerics(threads=1, seed=seed),
            volume=self.volume,
            network=Network(
                _target_="monai.networks.nets.UNet",
                arguments={"channels": (16, 32, 64, 128), "strides": (2, 2, 2), "norm": "BATCH"},
            ),
            train=TrainParams(
                epochs=EPOCHS,
                patches=self.steps * BATCH // EPOCHS,
                batch=BATCH,
                learning_rate=0.01,
                validate_every=EPOCHS,
                adaptation=Adaptation(vendors=("target",)),
            ),
        )

    @property
    def digest(self) -> str:
        """Of all that decides a figure, but the code."""
        planted = f"{TRAINING} {TEST} {GAMMA} {BIAS} {BLUR} {NOISE}"
        said = f"{self.name} {planted} {self.params(0).model_dump_json()}"
        return hashlib.sha256(said.encode()).hexdigest()[:12]


def main(arguments: list[str] | None = None) -> None:
    """Make what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    place = Path(tempfile.gettempdir()) / "kette-benchmarks" / "adaptation"
    parser.add_argument("--cache", type=Path, default=place, help="finished trials lie here")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cohorts", nargs="+", choices=COHORTS, default=[*COHORTS])
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER, help="no table then")
    options = parser.parse_args(arguments or [])
    for name in options.cohorts:
        cohort = COHORTS[name]()
        if name == "hippocampus" and not IMAGES.is_dir():
            print("shared hippocampus: not here (../shared/data)")
            continue
        cache = options.cache / f"{name}-{cohort.digest}"
        cache.mkdir(parents=True, exist_ok=True)
        samples = _samples(cohort, cache)
        for seed in range(options.seeds):
            for way in options.only:
                _trial(way, seed, cohort, samples, cache)
        if options.only == ORDER:
            print_table(cohort, cache, options.seeds)


def planted(voxels: Voxels, window: tuple[float, float], random: np.random.Generator) -> Voxels:
    """The same subject on the planted scanner.

    Args:
        voxels: (slices, rows, columns).
        window: what it shows as black and as white.
        random: of this subject.
    """
    low, high = window
    shown = np.clip((voxels.astype(np.float64) - low) / (high - low), 0, 1)
    shown **= GAMMA * np.exp(random.uniform(-0.1, 0.1))
    coarse = BIAS * random.standard_normal((3, 3, 3))
    factors = [side / 3 for side in shown.shape]
    shown *= np.exp(ndimage.zoom(coarse, factors, order=1, mode="nearest", grid_mode=True))
    shown = ndimage.gaussian_filter1d(shown, BLUR, axis=0)
    shown += random.normal(0, NOISE, shown.shape)
    made: Voxels = (low + shown * (high - low)).astype(np.float32)
    return made


def _hippocampus() -> Cohort:
    example = yaml.safe_load(EXAMPLE.read_text())
    task = Task(**example["task"])

    def read() -> Iterator[Any]:
        from stages.segmentation import read_labels
        from stages.series import read_series

        archives = np.random.default_rng(0).permutation(sorted(IMAGES.glob("*.zip")))
        for number, archive in enumerate(archives[: 2 * TRAINING + TEST]):
            with tempfile.TemporaryDirectory() as folder:
                zipfile.ZipFile(archive).extractall(folder)
                series = read_series(Path(folder) / "MR")
                labels = read_labels(Path(folder) / "SEG" / "reader-a.dcm", series, task).map
            spacing = series.geometry.spacing_mm
            yield archive.stem, series.voxels, spacing, labels, number >= TRAINING

    return Cohort("hippocampus", task, Volume(patch=(32, 48, 32)), 600, read)


def _phantom() -> Cohort:
    code = Code(value="10200004", scheme="SCT", meaning="Liver")
    organ = Structure(name="organ", label=1, segment_label="Organ", code=code)

    def read() -> Iterator[Any]:
        from stages.phantom.anatomy import build
        from stages.phantom.chance import Chance
        from stages.phantom.scanner import VENDORS, scan

        for number in range(2 * TRAINING + TEST):
            vendor = VENDORS[int(number >= TRAINING)]
            radii = (6000 + 500 * (number % 8), 8000)
            anatomy = build(vendor.space, number, radii, malignant=bool(number % 2))
            stored = scan(anatomy.density, vendor, Chance("noise", number, 0))
            labels = (anatomy.organ > 0).astype(np.uint8)  # lesions are learned too late for this
            voxels = (stored + vendor.intercept).astype(np.float32)
            spacing = tuple(step / 1000 for step in vendor.space.spacing_um)
            yield f"phantom-{number}", voxels, spacing, labels, number >= TRAINING

    volume = Volume(window=(-160.0, 240.0), spacing_mm=(3.0, 3.0, 3.0), patch=(16, 32, 32))
    return Cohort("phantom", Task(modality="CT", structures=(organ,)), volume, 300, read)


COHORTS: Mapping[str, Callable[[], Cohort]] = {"phantom": _phantom, "hippocampus": _hippocampus}


def _samples(cohort: Cohort, cache: Path) -> list[Sample]:
    """All subjects as the network sees them: the source's, then the target's."""
    from stages.cohort import Case, Sample
    from stages.volume import Prepared, prepare

    place = cache / "subjects.npz"
    if not place.exists():
        arrays: dict[str, Any] = {}
        for order, (name, voxels, spacing, labels, target) in enumerate(cohort.read()):
            seen = voxels
            if target:
                low, high = cohort.volume.window or np.percentile(voxels, (0.5, 99.5))
                seen = planted(voxels, (float(low), float(high)), np.random.default_rng([1, order]))
            prepared = prepare(seen, spacing, cohort.volume)
            vendor = "target" if target else "source"
            arrays[f"{order:03}/{vendor}/{name}/image"] = prepared.array
            arrays[f"{order:03}/{vendor}/{name}/labels"] = labels
            arrays[f"{order:03}/{vendor}/{name}/spacing"] = np.array(prepared.spacing_mm)
        np.savez(cache / "part.npz", **arrays)
        (cache / "part.npz").rename(place)
    found = []
    with np.load(place) as arrays:
        for key in sorted({name.rpartition("/")[0] for name in arrays}):
            image, labels, spacing = (
                arrays[f"{key}/{part}"] for part in ("image", "labels", "spacing")
            )
            _, vendor, name = key.split("/")
            case = Case(name, "", vendor, name, Path(), None)
            found.append(
                Sample(case, Prepared(image, tuple(spacing.tolist()), labels.shape), labels)
            )
    return found


def _trial(way: str, seed: int, cohort: Cohort, samples: list[Sample], cache: Path) -> None:
    """Train one way, unless that was done before."""
    result = _result(cache, way, seed)
    if result.exists():
        return
    from stages.network import pinned
    from stages.train.data import Data
    from stages.train.source import make_source
    from stages.train.trial import Trial, run_trial

    params, task = cohort.params(seed), cohort.task
    source, target = samples[:TRAINING], samples[TRAINING : 2 * TRAINING]
    labeled = target if way == BOUND else source
    data = Data(
        labeled=[make_source(sample, task, labeled=True) for sample in labeled],
        unlabeled=(),
        validation=samples[2 * TRAINING :],
        target=[make_source(sample, task, labeled=False) for sample in target],
    )
    variant = Variant(name="way", adapt=WAYS.get(way, "none"))
    start = time.process_time()
    with pinned(params.numerics):
        trained = run_trial(Trial(variant, seed, EPOCHS, way), data, params, start=None)
    found = {
        "seconds": time.process_time() - start,
        "loss": trained.rows[-1]["loss"],
        "dice": [[row.subject, row.target, row.value] for row in trained.outcomes],
    }
    part = result.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(result)
    print(
        f"{cohort.name}, {way}, seed {seed}: loss {found['loss']:.3f}, "
        f"Dice {trained.result['score']:.3f}, {found['seconds']:.0f} s CPU",
        flush=True,
    )


def _result(cache: Path, way: str, seed: int) -> Path:
    return cache / f"{way.replace(' ', '-')}-{seed}.json"


def print_table(cohort: Cohort, cache: Path, seeds: int) -> None:
    """Every way's Dice on the target, and the share of the gap that it closes."""
    found = {
        way: [json.loads(_result(cache, way, seed).read_text()) for seed in range(seeds)]
        for way in ORDER
    }
    dice = {way: by_subject(results) for way, results in found.items()}
    gap = dice[BOUND] - dice[NULL]
    print(
        f"\n{cohort.name}: {TRAINING} labeled of the source, {TRAINING} unlabeled and {TEST} test "
        f"subjects of the target, {cohort.steps} steps, {seeds} seed(s); gap in points "
        f"{_interval(_mean, 100 * gap, form='.1f')}"
    )
    print(f"{'way':22}{'s CPU':>7}  {'Dice, 95 % interval':26}gap closed, 95 % interval")
    for way in ORDER:
        seconds = np.mean([result["seconds"] for result in found[way]])
        line = f"{way:22}{seconds:>7.0f}  {_interval(_mean, dice[way], form='.3f'):26}"
        if way not in (NULL, BOUND):
            line += _interval(_share, dice[way] - dice[NULL], gap, form=".0%")
        print(line, flush=True)


def _mean(values: Figures) -> float:
    return float(values.mean())


def _share(gained: Figures, gap: Figures) -> float:
    return float(gained.mean() / gap.mean())


def _interval(figure: Callable[..., float], *arrays: Figures, form: str) -> str:
    """A figure of arrays (seeds, subjects), and its percentile interval over draws of both."""
    random = np.random.default_rng(0)
    seeds, subjects = arrays[0].shape
    drawn = []
    for _ in range(RESAMPLES):
        rows = random.integers(seeds, size=seeds)
        chosen = np.ix_(rows, random.integers(subjects, size=subjects))
        drawn.append(figure(*(values[chosen] for values in arrays)))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return f"{figure(*arrays):{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
