"""Ways of transfer on breast ultrasound (`python -m benchmarks.ultrasound FOLDER [LABELS…]`).

Every variant of the example `docs/examples/ultrasound`, with its settings, in five-fold
cross-validation over the shared pictures, with the labels of 20, 60 and all of the training folds'
subjects (classes taking turns). With so many labels, all variants have as many steps.

The figure is the macro AUC (each class against the rest), the mean over folds; its interval draws
subjects and folds, that of a difference draws the same for both. A training is measured after its
last epoch and at no other, so that the test fold chooses nothing. The peer is what a team would
write by hand: logistic regression on the frozen features of the same weights.

Each finished trial is kept in FOLDER: what was broken off goes on, and other settings are other
trials; a new version of the code needs a new FOLDER. LABELS (`all`, `60`, `20`) asks for these
alone, so that several processes may fill one FOLDER. Each is of one thread; seconds are the
processor's.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from audit.canonical import canonical_json
from flows.parameters import load
from stages.cohort import Case, Sample
from stages.network import pinned
from stages.params import Task, Volume
from stages.picture import picture_of
from stages.train.data import Data
from stages.train.foreign import read_foreign
from stages.train.params import Parameters
from stages.train.scores import Outcome
from stages.train.significance import Resampled, holm
from stages.train.source import make_source
from stages.train.start import Weights, new_network, take
from stages.train.trial import Trial, run_trial
from stages.volume import prepare
from stages.wrapped import bare

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "ultrasound"
SHARED = ROOT.parent / "shared" / "data"
PICTURES = SHARED / "busi" / "busi.zip"
WEIGHTS = SHARED / "weights" / "mobilenetv1x025-imagenet.tar"
sys.path.append(str(EXAMPLE))  # as a run of the project does: its network stands there

FOLDS = 5
LABELS: dict[str, tuple[int | None, int]] = {"all": (None, 1), "60": (60, 2), "20": (20, 4)}
"""Column → labeled subjects (None: all), and passes over them in an epoch."""
GOAL, GAIN = 0.90, 0.10
PEER = "logistic regression"
DECAY = 0.01
"""Of the peer: ridge on features of variance 1, per case."""
Json = dict[str, Any]
Runs = dict[str, list[Json]]
"""Variant → a trial a fold."""


def main() -> None:
    """Train what is missing, and print the table."""
    if not PICTURES.is_file():
        print("shared ultrasound: not here (../shared/data)")
        return
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= LABELS.keys():
        raise SystemExit(f"python -m benchmarks.ultrasound FOLDER [{' '.join(LABELS)}]")
    folder = Path(sys.argv[1])
    params = settings()
    samples = read_pictures(params.volume)
    with pinned(params.numerics), tempfile.TemporaryDirectory() as record:
        files = dict.fromkeys(params.foreign, WEIGHTS)
        starts = read_foreign(files, params, Path(record))
        for column in sys.argv[2:] or LABELS:
            runs = _column(column, samples, params, starts, folder)
            _print(column, runs, params)


def settings(**train: Any) -> Parameters:
    """The example's, measured after the last epoch alone; `train` replaces fields of that name."""
    found = load(EXAMPLE / "params.yaml")
    section = found.train.model_copy(update={"validate_every": found.train.epochs, **train})
    sections = {n: getattr(found, n) for n in ("task", "numerics", "volume", "network", "weights")}
    return Parameters(train=section, **sections)


def read_pictures(volume: Volume) -> list[Sample]:
    """The shared pictures with their classes, prepared, in the order of their names."""
    with zipfile.ZipFile(PICTURES) as archive:
        table = io.StringIO(archive.read("labels.csv").decode())
        labels = {row["SOPInstanceUID"]: row["label"] for row in csv.DictReader(table)}
        found = []
        for name in sorted(n for n in archive.namelist() if n.endswith(".dcm")):
            picture = picture_of(archive.read(name))
            prepared = prepare(picture.pixels, picture.spacing_mm, volume)
            case = Case(name, "train", "", name, Path(), None, labels[picture.uid])
            found.append(Sample(case, prepared, None))
    return found


def folds(samples: Sequence[Sample], seed: int) -> list[tuple[list[Sample], list[Sample]]]:
    """Training and test samples of each fold; every class is spread evenly over them."""
    random, place = np.random.default_rng(seed), np.empty(len(samples), int)
    labels = np.array([sample.case.label for sample in samples])
    for label in sorted(set(labels)):
        own = random.permutation(np.flatnonzero(labels == label))
        place[own] = np.arange(len(own)) % FOLDS
    return [
        (
            [s for s, n in zip(samples, place, strict=True) if n != fold],
            [s for s, n in zip(samples, place, strict=True) if n == fold],
        )
        for fold in range(FOLDS)
    ]


def data_of(train: Sequence[Sample], test: Sequence[Sample], task: Task) -> Data:
    """What trials see: training as the labeled, the test fold as what is measured."""
    sources = [make_source(sample, task, labeled=True) for sample in train]
    return Data(labeled=sources, unlabeled=(), validation=test)


def run(
    name: str, data: Data, params: Parameters, starts: Mapping[str, Weights], folder: Path | None
) -> Json:
    """One trial, or what is kept of it: `outcomes`, `seconds`, `trained_parameters`."""
    way = params.train.ways.get(name)
    sources = [source.subject for source in data.labeled]
    tested = [sample.case.subject for sample in data.validation]
    network = sha256((EXAMPLE / "networks.py").read_bytes()).hexdigest()
    what = params.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    del what["train"]["variants"], what["train"]["min_score"]
    what["variant"] = way.model_dump(mode="json", exclude_defaults=True) if way else [name, DECAY]
    key = sha256(canonical_json([what, network, sources, tested])).hexdigest()
    place = folder / f"{name.replace(' ', '-')}-{key[:16]}.json" if folder else None
    if place and place.is_file():
        kept: Json = json.loads(place.read_bytes())
        return kept
    begun = time.process_time()
    if way:
        trial = Trial(way, params.numerics.seed, params.train.epochs, name)
        trained = run_trial(trial, data, params, start=starts.get(way.start))
        outcomes, count = trained.outcomes, trained.result["trained_parameters"]
    else:
        outcomes, count = _by_hand(data, params, starts)
    result = {
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "trained_parameters": count,
        "seconds": time.process_time() - begun,
    }
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(result), "utf-8")
    return result


def _by_hand(
    data: Data, params: Parameters, starts: Mapping[str, Weights]
) -> tuple[list[Outcome], int]:
    """The peer: features of the frozen network, standardized; a ridge on the classifier."""
    module, head = new_network(params.network, params.task, params.volume, params.numerics.seed)
    (start,) = starts.values()
    take(module, start, head, keep=False)
    bare(module).fc = torch.nn.Identity()
    module.eval()
    arrays = [source.image + source.minimum for source in data.labeled]
    with torch.no_grad():
        shown = torch.cat([module(array) for array in arrays])
        asked = torch.cat(
            [module(torch.from_numpy(s.prepared.array)[None, None]) for s in data.validation]
        )
    mean, deviation = shown.mean(dim=0), shown.std(dim=0) + 1e-3
    shown, asked = (shown - mean) / deviation, (asked - mean) / deviation
    classes = torch.tensor([source.label for source in data.labeled])
    weight = torch.zeros((shown.shape[1], len(params.task.classes)), requires_grad=True)
    bias = torch.zeros(len(params.task.classes), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(shown @ weight + bias, classes)
        value = value + DECAY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        odds = (asked @ weight + bias).softmax(dim=1)
    found = [
        Outcome(
            s.case.subject, s.case.series, "probability", c.name, float(p), s.case.label == c.name
        )
        for s, row in zip(data.validation, odds, strict=True)
        for c, p in zip(params.task.classes, row, strict=True)
    ]
    return found, weight.numel() + bias.numel()


def _column(
    column: str,
    samples: Sequence[Sample],
    params: Parameters,
    starts: Mapping[str, Weights],
    folder: Path,
) -> Runs:
    """Every variant on every fold with so many labels; a fold is finished before the next."""
    labels, passes = LABELS[column]
    names = [*params.train.ways, PEER]
    runs: Runs = {name: [] for name in names}
    for number, (train, test) in enumerate(folds(samples, params.numerics.seed)):
        data = data_of(train, test, params.task)
        if labels is not None:
            data = data.with_labels(labels, params.numerics.seed + number, params.task)
        section = params.train.model_copy(update={"patches": passes * len(data.labeled)})
        own = params.model_copy(update={"train": section})
        for name in names:
            place = folder / column / f"fold-{number + 1}"
            runs[name].append(run(name, data, own, starts, place))
            print(f"  {column}, fold {number + 1}, {name}", file=sys.stderr, flush=True)
    return runs


def _print(column: str, runs: Runs, params: Parameters) -> None:
    """A row a variant; the best transfer against the goal."""
    options = params.train.comparison
    outcomes = {n: [[Outcome(**o) for o in run["outcomes"]] for run in r] for n, r in runs.items()}
    resampled = Resampled(
        outcomes, params.task, resamples=options.resamples, seed=params.numerics.seed
    )
    others = [name for name in runs if name != "scratch"]
    p = holm({name: resampled.p(name, "scratch") for name in others}) | {"scratch": 1.0}
    subjects = "all" if column == "all" else f"{column} labeled"
    print(f"\n{subjects} subjects of each training part: macro AUC, {FOLDS} folds")
    print(f"{'variant':20}{'AUC':>7}  {'interval':16}{'to scratch':>10}  {'interval':18}", end="")
    print(f"{'p':>8}{'trained':>9}{'CPU s':>8}")
    for name, trials in runs.items():
        auc = resampled.interval(name, options.confidence)
        gain = resampled.interval(name, options.confidence, less="scratch")
        seconds = sum(trial["seconds"] for trial in trials) / len(trials)
        print(
            f"{name:20}{auc.mean:7.3f}  {f'{auc.low:.3f} to {auc.high:.3f}':16}"
            f"{gain.mean:+10.3f}  {f'{gain.low:+.3f} to {gain.high:+.3f}':18}"
            f"{p[name]:8.4f}{trials[0]['trained_parameters']:9d}{seconds:8.1f}"
        )
    best = max((n for n in others if n != PEER), key=resampled.mean)
    gain = resampled.mean(best) - resampled.mean("scratch")
    print(
        f"best transfer {best}: {resampled.mean(best):.3f} (goal with all subjects {GOAL:.2f}), "
        f"{gain:+.3f} to scratch (goal {GAIN:+.2f}), "
        f"ratio to {PEER} {resampled.mean(best) / resampled.mean(PEER):.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
