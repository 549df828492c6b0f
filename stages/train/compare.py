"""The comparison: pre-training where a way needs it, screening, every variant, fewer labels.

All variants see the same data in the same order with the same seeds and as many steps. A grid is
first screened with short trainings, of which the better ones go on (successive halving, Jamieson
and Talwalkar 2016); finalists are trained in full, with every seed, and with fewer labels where
learning curves are asked for.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from audit.canonical import canonical_json
from stages.network import build, pinned, save
from stages.stage import Outcome
from stages.table import write_table
from stages.train.cache import Cache
from stages.train.cases import part, read_samples, write_preprocessing
from stages.train.cost import Cost
from stages.train.data import Data
from stages.train.foreign import read_foreign
from stages.train.params import Comparison, Parameters
from stages.train.pretraining import pretrain
from stages.train.progress import Progress
from stages.train.scores import OUTCOMES
from stages.train.scores import rows as outcome_rows
from stages.train.setting import Setting
from stages.train.start import Weights
from stages.train.trial import Trained, Trial, run_trial
from stages.train.ways import SELF_SUPERVISED, Variant
from stages.wrapped import bare

Say = Callable[[str, float], None]
Json = dict[str, Any]
TRIALS = {
    "trial": "string",
    "part": "string",
    "variant": "string",
    "seed": "int64",
    "labels": "int64",
    "epochs": "int64",
    "selected_epoch": "int64",
    "score": "double",
}
"""Of `trials.parquet`: `part` is `screening`, `final` or `labels`; `labels` counts subjects."""
_HISTORY = {
    "epoch": "int64",
    "loss": "double",
    "score": "double",
    "weights_sha256": "string",
    "batches_sha256": "string",
}


def run_variants(
    tree: Path,
    files: Mapping[str, Path],
    params: Parameters,
    out: Path,
    *,
    say: Say,
    setting: Setting,
) -> Outcome:
    """Train everything that `train.variants` and `train.comparison` ask for.

    Args:
        tree: the cohort.
        files: source in `weights` that a variant starts from → its file.
        params: of the stage.
        out: the unit's folder.
        say: progress.
        setting: of every training, but for what it is told.

    Raises:
        Refused: TRN-8.
        Fault: a number is not finite.
        WrongUse: the network cannot take the patch, or cannot be trained in a declared way.
    """
    build(params.network, params.task, params.volume)  # refused before anything is read
    cost = Cost()
    cache = Cache(setting.cache)
    samples, skipped = read_samples(tree, params, cache)
    data = part(samples, params, cache)
    write_preprocessing(out / "preprocessing.parquet", samples)
    cost.lap("reading")
    ways = params.train.ways
    methods = [name for name in SELF_SUPERVISED if any(w.start == name for w in ways.values())]
    comparison = _Comparison(params, data, out, setting, cost)
    comparison.progress = Progress(comparison.epochs(methods), say)
    starts = read_foreign(files, params, out) | comparison.pretrain(methods)
    finalists = comparison.screen(ways, starts)
    comparison.finals({name: ways[name] for name in finalists}, starts)
    write_table(out / "trials.parquet", comparison.trials, TRIALS)
    findings = {
        "series": {
            "training": len(data.labeled),
            "validation": len(data.validation),
            "pretraining": len(data.unlabeled) if methods else 0,
            **({"target": len(data.target)} if params.train.adaptation else {}),
        },
        "skipped": skipped,
        "finalists": finalists,
        **comparison.findings,
    }
    return Outcome(findings=findings, measured=cost.measured())


def follow_variants(
    tree: Path, files: Mapping[str, Path], params: Parameters, setting: Setting
) -> None:
    """Do what `run_variants` does where another process leads; nothing is kept (PAR-3)."""
    with tempfile.TemporaryDirectory() as folder, pinned(params.numerics):
        followed = replace(setting, leads=False)
        run_variants(tree, files, params, Path(folder), say=_silent, setting=followed)


def _silent(_text: str, _fraction: float) -> None:
    """Say nothing."""


class _Comparison:
    """A comparison under way."""

    progress: Progress

    def __init__(
        self, params: Parameters, data: Data, out: Path, setting: Setting, cost: Cost
    ) -> None:
        self.params, self.data, self.out = params, data, out
        self.setting, self.cost = setting, cost
        self.options: Comparison = params.train.comparison
        self.trials: list[Json] = []
        self.findings: Json = {"pretraining": {}, "variants": {}}

    def epochs(self, methods: Sequence[str]) -> int:
        """Of everything that is to come, as far as it can be foreseen."""
        train, left = self.params.train, len(self.params.train.ways)
        total = len(methods) * train.pretraining.epochs
        for rung in self.options.screening_epochs:
            total += left * rung
            left = self._kept(left)
        runs = self.options.seeds * (1 + len(self.options.label_counts))
        return total + left * runs * train.epochs

    def pretrain(self, methods: Sequence[str]) -> dict[str, Weights]:
        """Weights of every self-supervised method that a variant starts from."""
        starts: dict[str, Weights] = {}
        for method in methods:
            say = self.progress.of(method, self.params.train.pretraining.epochs)
            backbone, rows = pretrain(
                method, self.data.unlabeled, self.params, say, setting=self.setting
            )
            folder = self.out / "pretraining" / method
            save(backbone, folder / "model.safetensors")
            _write_history(folder, rows)
            digest = rows[-1]["weights_sha256"]
            self.findings["pretraining"][method] = {"weights_sha256": digest}
            starts[method] = bare(backbone).state_dict()
            self.cost.lap(f"pretraining ({method})")
        return starts

    def screen(self, ways: dict[str, Variant], starts: dict[str, Weights]) -> list[str]:
        """The variants that are trained in full: of each rung, the better ones."""
        left = list(ways)
        for number, epochs in enumerate(self.options.screening_epochs, start=1):
            scores = {}
            for name in left:
                trial = Trial(
                    ways[name], self.params.numerics.seed, epochs, f"screening/{number}/{name}"
                )
                scores[name] = self._try(trial, "screening", self.data, starts).result["score"]
            best = sorted(left, key=lambda name: -scores[name])
            kept = set(best[: self._kept(len(left))])
            left = [name for name in left if name in kept]
        return left

    def _kept(self, count: int) -> int:
        return max(1, math.ceil(count * self.options.screening_keep))

    def finals(self, ways: dict[str, Variant], starts: dict[str, Weights]) -> None:
        """Every finalist with every seed, then with fewer labels."""
        train, seed = self.params.train, self.params.numerics.seed
        for name, way in ways.items():
            for turn in range(self.options.seeds):
                place = f"{name}/seed-{turn + 1}" if turn else name
                trial = Trial(way, seed + turn, train.epochs, place)
                trained = self._try(trial, "final", self.data, starts)
                if not turn:
                    save(trained.module, self.out / name / "model.safetensors")
                    self.findings["variants"][name] = trained.result
        for count in self.options.label_counts:
            for turn in range(self.options.seeds):
                fewer = self.data.with_labels(count, seed + turn, self.params.task)
                for name, way in ways.items():
                    place = f"{name}/labels-{count}/seed-{turn + 1}"
                    trial = Trial(way, seed + turn, train.epochs, place)
                    self._try(trial, "labels", fewer, starts)

    def _try(self, trial: Trial, part: str, data: Data, starts: dict[str, Weights]) -> Trained:
        """Run one trial, as many steps whatever labels it has, and write what came of it."""
        train = self.params.train
        steps = train.model_copy(update={"patches": train.patches or len(self.data.labeled)})
        trained = run_trial(
            trial,
            data,
            self.params.model_copy(update={"train": steps}),
            start=starts.get(trial.variant.start),
            setting=replace(self.setting, say=self.progress.of(trial.name, trial.epochs)),
        )
        folder = self.out / trial.name
        _write_history(folder, trained.rows)
        write_table(folder / "outcomes.parquet", outcome_rows(trained.outcomes), OUTCOMES)
        (folder / "result.json").write_bytes(canonical_json(trained.result))
        self.trials.append(
            {
                "trial": trial.name,
                "part": part,
                "variant": trial.variant.name,
                "labels": len({source.subject for source in data.labeled}),
                **{n: trained.result[n] for n in ("seed", "epochs", "selected_epoch", "score")},
            }
        )
        self.cost.lap(trial.name)
        return trained


def _write_history(folder: Path, rows: Sequence[Json]) -> None:
    columns = {n: kind for n, kind in _HISTORY.items() if not rows or n in rows[0]}
    write_table(folder / "history.parquet", rows, columns)
