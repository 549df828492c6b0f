"""Few labels: self- and semi-supervised ways against scratch, on the shared hippocampus.

Reader A's labels of 5, 10 and 20 subjects, 140 subjects without labels, 40 test subjects; the same
for all ways, and so are network, patch and augmentation, those of the example. Every way has the
same number of optimizer steps on labels, and every pre-training as many again (contrastive
batches are four times as large: there, as many patches in a quarter of the steps). Two rows tell
what a gain is worth: scratch with twice the steps, and scratch with the labels of all. Nothing is
chosen on test subjects: the last epoch's network is the result. Through the product's own reading,
pre-training and trials. A part of the table that is there already is not made again.

    python -m benchmarks.few_labels --cache FOLDER [--labels 10 5 20] [--seeds 3] [--processes 1]

The gain is the mean difference to scratch of the same seed and subject (mean of both structures);
its interval is a percentile bootstrap that draws subjects and seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
import zipfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from flows.parameters import load
from stages.params import Numerics
from stages.train.params import Parameters, Pretraining
from stages.train.ways import SELF_SUPERVISED, Variant

ROOT = Path(__file__).parents[1]
IMAGES = ROOT.parent / "shared" / "data" / "hippocampus"
EXAMPLE = ROOT / "docs" / "examples" / "hippocampus" / "params.yaml"
TEST, UNLABELED, MOST = 40, 140, 20
ALL = MOST + UNLABELED
"""Labels of the last row, scratch again: what more labels would give at the same budget."""
SPLIT = 0
"""Seed that parts test subjects from the others; the same for every run."""
EPOCHS = 20
BATCH = 2
LONGER = "scratch, twice the steps"
WAYS = {
    "scratch": Variant(name="scratch"),
    LONGER: Variant(name="longer"),
    **{name: Variant(name=name, start=name) for name in SELF_SUPERVISED},
    "mean-teacher": Variant(name="mean-teacher", unlabeled="mean teacher"),
    "restoration + mean teacher": Variant(
        name="both", start="restoration", unlabeled="mean teacher"
    ),
}
RESAMPLES = 10_000


@dataclass(frozen=True)
class Budget:
    """What a run costs; part of the cache's name."""

    steps: int

    def epochs(self, way: Variant) -> tuple[int, int]:
        """Of pre-training, and of the trial."""
        before = EPOCHS if way.start != "random" else 0
        return before, 2 * EPOCHS if way == WAYS[LONGER] else EPOCHS

    def params(self, seed: int, way: Variant) -> Parameters:
        """Of one trial: the example's, everything else the same."""
        before, after = self.epochs(way)
        example = load(EXAMPLE)
        return Parameters(
            task=example.task,
            numerics=Numerics(threads=1, seed=seed),
            volume=example.volume,
            network=example.network,
            train=example.train.model_copy(
                update={
                    "epochs": after,
                    "patches": self.steps * BATCH // EPOCHS,
                    "batch": BATCH,
                    "validate_every": after,
                    "pretraining": Pretraining(epochs=max(1, before)),
                }
            ),
        )


def main() -> None:
    """Make what is missing, and print the table."""
    options = _options()
    if not options.images.is_dir():
        print("shared hippocampus: not here (../shared/data)")
        return
    budget = Budget(options.steps)
    cache = options.cache / _digest(budget)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "params.json").write_text(budget.params(0, WAYS["mean-teacher"]).model_dump_json())
    read(options.images, options.cache, budget)
    seeds = range(options.seeds)
    methods = [m for m in SELF_SUPERVISED if any(w.start == m for w in WAYS.values())]
    _all(_pretrain, list(product(methods, seeds)), options, budget, cache)
    jobs = [(name, labels, seed) for labels in options.labels for name in WAYS for seed in seeds]
    jobs += [("scratch", ALL, seed) for seed in seeds]
    _all(_trial, jobs, options, budget, cache)
    for labels in options.labels:
        print_table(cache, labels, seeds, budget)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of a zip a subject")
    parser.add_argument("--cache", type=Path, required=True, help="finished parts lie here")
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="optimizer steps on labels")
    parser.add_argument("--processes", type=int, default=1, help="each of one thread")
    return parser.parse_args()


def _digest(budget: Budget) -> str:
    """Of all that decides a figure."""
    said = [
        budget.params(0, way).model_dump_json() + way.model_dump_json() for way in WAYS.values()
    ]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]


def _all(
    work: Any, jobs: list[Any], options: argparse.Namespace, budget: Budget, cache: Path
) -> None:
    arguments = [(job, options.cache, budget, cache) for job in jobs]
    if options.processes == 1:
        for argument in arguments:
            work(*argument)
        return
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        list(pool.map(work, *zip(*arguments, strict=True)))


def read(images: Path, folder: Path, budget: Budget) -> None:
    """All subjects' prepared volumes and reader A's labels, once."""
    if _store(folder, budget).exists():
        return
    from stages.cohort import Case, load_case

    params = budget.params(0, WAYS["scratch"])
    arrays: dict[str, Any] = {}
    for archive in sorted(images.glob("*.zip")):
        with tempfile.TemporaryDirectory() as unpacked:
            zipfile.ZipFile(archive).extractall(unpacked)
            at = Path(unpacked)
            case = Case(archive.stem, "", "", "", at / "MR", at / "SEG" / "reader-a.dcm")
            _, sample = load_case(case, params.task, params.volume)
        arrays[f"{archive.stem}/image"] = sample.prepared.array
        arrays[f"{archive.stem}/labels"] = sample.labels
        arrays[f"{archive.stem}/spacing"] = np.array(sample.prepared.spacing_mm)
    np.savez(folder / "part.npz", **arrays)
    (folder / "part.npz").rename(_store(folder, budget))


def _store(folder: Path, budget: Budget) -> Path:
    """Of the prepared volumes: another preparation, another file."""
    said = budget.params(0, WAYS["scratch"]).volume.model_dump_json()
    return folder / f"subjects-{hashlib.sha256(said.encode()).hexdigest()[:12]}.npz"


def _samples(folder: Path, budget: Budget) -> dict[str, Any]:
    from stages.cohort import Case, Sample
    from stages.volume import Prepared

    found = {}
    with np.load(_store(folder, budget)) as arrays:
        for subject in sorted({name.partition("/")[0] for name in arrays}):
            image, labels, spacing = (
                arrays[f"{subject}/{part}"] for part in ("image", "labels", "spacing")
            )
            case = Case(subject, "", "", "", Path(), None)
            prepared = Prepared(image, tuple(spacing.tolist()), labels.shape)
            found[subject] = Sample(case, prepared, labels)
    return found


def parted(subjects: Iterable[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """Test subjects; those without labels; and all others, of whom the first are labeled."""
    order = np.random.default_rng(SPLIT).permutation(sorted(subjects)).tolist()
    others = np.random.default_rng([SPLIT, seed]).permutation(order[TEST:]).tolist()
    return order[:TEST], others[MOST : MOST + UNLABELED], others[:ALL]


def _pretrain(job: tuple[str, int], folder: Path, budget: Budget, cache: Path) -> None:
    method, seed = job
    target = cache / f"{method}-{seed}.safetensors"
    if target.exists():
        return
    from stages.network import pinned, save
    from stages.train.pretraining import pretrain
    from stages.train.source import make_source
    from stages.wrapped import bare

    params = budget.params(seed, Variant(name="x", start=method))
    samples = _samples(folder, budget)
    _, unlabeled, _ = parted(samples, seed)
    start = time.process_time()
    with pinned(params.numerics):
        sources = [make_source(samples[name], params.task, labeled=False) for name in unlabeled]
        module, rows = pretrain(method, sources, params, lambda _epoch, _loss: None)
    seconds = time.process_time() - start
    target.with_suffix(".json").write_text(
        json.dumps({"seconds": seconds, "losses": [row["loss"] for row in rows]})
    )
    save(bare(module), target)
    print(
        f"{method}, seed {seed}: loss {rows[0]['loss']:.3f} to {rows[-1]['loss']:.3f}", flush=True
    )


def _trial(job: tuple[str, int, int], folder: Path, budget: Budget, cache: Path) -> None:
    name, labels, seed = job
    target = _result(cache, name, labels, seed)
    if target.exists():
        return
    from safetensors.torch import load_file

    from stages.network import pinned
    from stages.train.data import Data
    from stages.train.source import make_source
    from stages.train.trial import Trial, run_trial

    way = WAYS[name]
    params = budget.params(seed, way)
    samples = _samples(folder, budget)
    test, unlabeled, labeled = parted(samples, seed)
    data = Data(
        [make_source(samples[subject], params.task, labeled=True) for subject in labeled[:labels]],
        [make_source(samples[subject], params.task, labeled=False) for subject in unlabeled],
        [samples[subject] for subject in test],
    )
    weights, before = None, 0.0
    if way.start != "random":
        weights = load_file(cache / f"{way.start}-{seed}.safetensors")
        before = json.loads((cache / f"{way.start}-{seed}.json").read_text())["seconds"]
    start = time.process_time()
    with pinned(params.numerics):
        trained = run_trial(
            Trial(way, seed, params.train.epochs, name),
            data,
            params,
            start=weights,
        )
    found = {
        "seconds": before + time.process_time() - start,
        "epoch": trained.result["selected_epoch"],
        "dice": [[row.subject, row.target, row.value] for row in trained.outcomes],
    }
    target.write_text(json.dumps(found))
    print(
        f"{name}, {labels} labels, seed {seed}: Dice {trained.result['score']:.4f}, "
        f"{found['seconds']:.0f} s",
        flush=True,
    )


def _result(cache: Path, name: str, labels: int, seed: int) -> Path:
    return cache / f"{WAYS[name].name}-{labels}-{seed}.json"


def print_table(cache: Path, labels: int, seeds: Iterable[int], budget: Budget) -> None:
    """Every way at so many labels."""
    found = {
        name: [json.loads(_result(cache, name, labels, seed).read_text()) for seed in seeds]
        for name in WAYS
    }
    scratch = by_subject(found["scratch"])
    count = len(found["scratch"])
    print(f"\n{labels} labeled, {UNLABELED} unlabeled, {TEST} test subjects, {count} seeds")
    print(
        f"{'way':28}{'steps':>7}{'s CPU':>7}{'Dice':>8}{'ant.':>8}{'post.':>8}  gain, 95 % interval"
    )
    found[f"scratch, {ALL} labels"] = [
        json.loads(_result(cache, "scratch", ALL, seed).read_text()) for seed in seeds
    ]
    for name, results in found.items():
        dice = by_subject(results)
        seconds = np.mean([result["seconds"] for result in results])
        parts = [
            np.mean([v for r in results for _, target, v in r["dice"] if target == structure])
            for structure in ("anterior", "posterior")
        ]
        steps = budget.steps * sum(budget.epochs(WAYS.get(name, WAYS["scratch"]))) // EPOCHS
        line = f"{name:28}{steps:>7}{seconds:>7.0f}{dice.mean():>8.4f}"
        line += "".join(f"{part:>8.4f}" for part in parts)
        if name != "scratch":
            gain, low, high = interval(dice - scratch)
            line += f"  {100 * gain:+.2f} points, {100 * low:+.2f} to {100 * high:+.2f}"
        print(line, flush=True)


def by_subject(results: list[dict[str, Any]]) -> np.ndarray:
    """(seeds, subjects): mean Dice over structures."""
    rows = []
    for result in results:
        values: dict[str, list[float]] = {}
        for subject, _, value in result["dice"]:
            values.setdefault(subject, []).append(value)
        rows.append([float(np.mean(values[subject])) for subject in sorted(values)])
    return np.array(rows)


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of (seeds, subjects), and its percentile interval over both."""
    random = np.random.default_rng(0)
    seeds, subjects = differences.shape
    drawn = [
        differences[
            np.ix_(random.integers(seeds, size=seeds), random.integers(subjects, size=subjects))
        ].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(differences.mean()), float(low), float(high)


if __name__ == "__main__":
    main()
