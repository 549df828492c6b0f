"""The comparison: samples from the cohort, pre-training where a way needs it, every variant."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.canonical import canonical_json
from audit.errors import Refused, Unreadable
from stages.cohort import Case, Sample, load_case, read_cases
from stages.network import build, pinned, save
from stages.stage import Outcome
from stages.table import write_table
from stages.train.data import Data
from stages.train.params import Parameters
from stages.train.pretraining import pretrain
from stages.train.scores import OUTCOMES
from stages.train.scores import rows as outcome_rows
from stages.train.setting import Setting
from stages.train.source import make_source
from stages.train.start import Weights
from stages.train.trial import Trial, run_trial
from stages.train.ways import SELF_SUPERVISED
from stages.wrapped import bare

Say = Callable[[str, float], None]


class _Clock:
    """Seconds of each part: measured, never written below the unit's folder."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def lap(self) -> float:
        last, self._last = self._last, perf_counter()
        return round(self._last - last, 3)


def run_variants(tree: Path, params: Parameters, out: Path, say: Say, setting: Setting) -> Outcome:
    """Train everything that `train.variants` names.

    Args:
        tree: the cohort.
        params: of the stage.
        out: the unit's folder.
        say: progress.
        setting: of every training, but for what it is told.

    Raises:
        Refused: TRN-8.
        Fault: a loss is not finite.
        WrongUse: the network cannot take the patch.
    """
    clock = _Clock()
    build(params.network, params.task, params.volume)  # refused before anything is read
    skipped: list[dict[str, str]] = []
    samples = list(_load(read_cases(tree, params.task), params, skipped))
    data = _data(samples, params)
    _write_preprocessing(out / "preprocessing.parquet", samples)
    ways = params.train.ways
    methods = [name for name in SELF_SUPERVISED if any(w.start == name for w in ways.values())]
    progress = _Progress(params, methods, say)
    seconds: dict[str, float] = {"reading": clock.lap()}
    findings: dict[str, Any] = {
        "series": {
            "training": len(data.labeled),
            "validation": len(data.validation),
            "pretraining": len(data.unlabeled) if methods else 0,
            **({"target": len(data.target)} if params.train.adaptation else {}),
        },
        "skipped": skipped,
    }

    starts: dict[str, Weights] = {}
    for method in methods:
        backbone, rows = pretrain(
            method, data.unlabeled, params, progress.of(method), workers=setting.workers
        )
        save(backbone, out / "pretraining" / method / "model.safetensors")
        _write_history(out / "pretraining" / method, rows)
        findings.setdefault("pretraining", {})[method] = {
            "weights_sha256": rows[-1]["weights_sha256"]
        }
        starts[method] = bare(backbone).state_dict()
        seconds[f"pretraining ({method})"] = clock.lap()

    findings["variants"] = {}
    for name, way in ways.items():
        trained = run_trial(
            Trial(way, params.numerics.seed, params.train.epochs, name),
            data,
            params,
            start=starts.get(way.start),
            setting=replace(setting, say=progress.of(name)),
        )
        folder = out / name
        save(trained.module, folder / "model.safetensors")
        _write_history(folder, trained.rows)
        write_table(folder / "outcomes.parquet", outcome_rows(trained.outcomes), OUTCOMES)
        (folder / "result.json").write_bytes(canonical_json(trained.result))
        findings["variants"][name] = trained.result
        seconds[name] = clock.lap()
    return Outcome(findings=findings, measured={"seconds": seconds})


def follow_variants(tree: Path, params: Parameters, setting: Setting) -> None:
    """Do what `run_variants` does where another process leads; nothing is kept (PAR-3)."""
    with tempfile.TemporaryDirectory() as folder, pinned(params.numerics):
        run_variants(tree, params, Path(folder), _silent, replace(setting, leads=False))


def _silent(_text: str, _fraction: float) -> None:
    """Say nothing."""


def _data(samples: Sequence[Sample], params: Parameters) -> Data:
    """What variants see: labeled training, all training and unlabeled images, validation (TRN-2).

    Raises:
        Refused: TRN-8, ADA-3.
    """
    training = [s for s in samples if s.case.split == "train" and _labeled(s)]
    validation = [s for s in samples if s.case.split == "validation" and _labeled(s)]
    images = [s for s in samples if s.case.split in ("train", "unlabeled")]
    target, aside = list[Sample](), list[Sample]()
    if params.train.adaptation is not None:
        vendors = params.train.adaptation.vendors
        target = [s for s in images if s.case.vendor in vendors]
        aside = [s for s in validation if s.case.vendor not in vendors]
        training = [s for s in training if s.case.vendor not in vendors]
        validation = [s for s in validation if s.case.vendor in vendors]
        _check_target(target, training, validation)
    _check_enough(training, validation, params)
    return Data(
        labeled=[make_source(sample, params.task, labeled=True) for sample in training],
        unlabeled=[make_source(sample, params.task, labeled=False) for sample in images],
        validation=validation,
        target=[make_source(sample, params.task, labeled=False) for sample in target],
        aside=aside,
    )


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


def _load(
    cases: Iterable[Case], params: Parameters, skipped: list[dict[str, str]]
) -> Iterable[Sample]:
    """Samples that training may see; the unreadable are noted (TRN-2, TRN-8)."""
    for case in cases:
        if case.split not in ("train", "validation", "unlabeled"):
            continue
        try:
            yield load_case(case, params.task, params.volume)[1]
        except Unreadable as error:
            skipped.append({"subject": case.subject, "series": case.series, "reason": error.what})


def _check_enough(
    training: Sequence[Sample], validation: Sequence[Sample], params: Parameters
) -> None:
    for samples, what in ((training, "training"), (validation, "validation")):
        if not samples:
            raise Refused(
                f"No {what} subject has a labeled series.",
                "Annotate more subjects, or give that split a larger share in `dataset`.",
            )
    seen = {int(label) for s in training if s.labels is not None for label in np.unique(s.labels)}
    absent = [s.name for s in params.task.structures if s.label not in seen]
    given = {sample.case.label for sample in training}
    absent += [label.name for label in params.task.classes if label.name not in given]
    if absent:
        raise Refused(
            f"No training series shows: {', '.join(absent)}.",
            "Annotate subjects that do, or take the structure or class out of `task`.",
        )


def _write_preprocessing(path: Path, samples: Sequence[Sample]) -> None:
    """What each series was when training began: digests of its prepared volume and labels."""
    rows = [
        {
            "subject": sample.case.subject,
            "series": sample.case.series,
            "split": sample.case.split,
            "image_sha256": _sha256(sample.prepared.array),
            "labels_sha256": None if sample.labels is None else _sha256(sample.labels),
        }
        for sample in samples
    ]
    write_table(path, rows, dict.fromkeys(rows[0], "string"))


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _write_history(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    kinds = {
        "epoch": "int64",
        "loss": "double",
        "score": "double",
        "weights_sha256": "string",
        "batches_sha256": "string",
    }
    columns = {name: kind for name, kind in kinds.items() if name in rows[0]}
    write_table(folder / "history.parquet", rows, columns)


class _Progress:
    """Fraction done over all parts, by epochs."""

    def __init__(self, params: Parameters, methods: Sequence[str], say: Say) -> None:
        self._before, self._say = 0, say
        self._epochs = dict.fromkeys(methods, params.train.pretraining.epochs)
        self._epochs |= dict.fromkeys(params.train.ways, params.train.epochs)
        self._total = sum(self._epochs.values())

    def of(self, part: str) -> Callable[[int, float], None]:
        start, count = self._before, self._epochs[part]
        self._before += count

        def say(epoch: int, loss: float) -> None:
            text = f"{part}: epoch {epoch} of {count}, loss {loss:.4f}"
            self._say(text, (start + epoch) / self._total)

        return say
