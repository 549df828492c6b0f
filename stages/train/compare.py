"""The comparison: samples from the cohort, pre-training where a way needs it, every variant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.canonical import canonical_json
from audit.errors import Refused, Unreadable
from stages.channels import channels_count
from stages.cohort import Case, Sample, load_case, read_cases
from stages.network import build, check_takes, save
from stages.stage import Outcome
from stages.table import write_table
from stages.train.params import Parameters
from stages.train.patches import make_source
from stages.train.pretraining import pretrain
from stages.train.variants import train_variant
from stages.train.ways import WAYS

Say = Callable[[str, float], None]


class _Clock:
    """Seconds of each part: measured, never written below the unit's folder."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def lap(self) -> float:
        last, self._last = self._last, perf_counter()
        return round(self._last - last, 3)


def run_variants(
    tree: Path, params: Parameters, out: Path, say: Say, *, workers: int = 0
) -> Outcome:
    """Train everything that `train.variants` names.

    Args:
        tree: the cohort.
        params: of the stage.
        out: the unit's folder.
        say: progress.
        workers: processes that draw patches; they decide no bit.

    Raises:
        Refused: TRN-8.
        Fault: a loss is not finite.
        WrongUse: the network cannot take the patch.
    """
    check_takes(
        build(params.network, channels_count(params.task)),
        params.volume.patch,
        channels_count(params.task),
    )
    clock = _Clock()
    skipped: list[dict[str, str]] = []
    samples = list(_load(read_cases(tree, params.task), params, skipped))
    training = [s for s in samples if s.case.split == "train" and s.labels is not None]
    validation = [s for s in samples if s.case.split == "validation" and s.labels is not None]
    _check_enough(training, validation, params)
    _write_preprocessing(out / "preprocessing.parquet", samples)
    images = [s for s in samples if s.case.split in ("train", "unlabeled")]  # TRN-2
    ways = {name: WAYS[name] for name in params.train.variants}
    pretrains = any(way.start == "pretrained" for way in ways.values())
    progress = _Progress(params, pretrains=pretrains, say=say)
    seconds: dict[str, float] = {"reading": clock.lap()}
    findings: dict[str, Any] = {
        "series": {
            "training": len(training),
            "validation": len(validation),
            "pretraining": len(images) if pretrains else 0,
        },
        "skipped": skipped,
    }

    backbone = None
    if pretrains:
        sources = [make_source(sample, params.task, labeled=False) for sample in images]
        backbone, rows = pretrain(sources, params, progress.of("pre-training"), workers=workers)
        save(backbone, out / "pretraining" / "model.safetensors")
        _write_history(out / "pretraining", rows)
        findings["pretraining"] = {"weights_sha256": rows[-1]["weights_sha256"]}
        seconds["pretraining"] = clock.lap()

    sources = [make_source(sample, params.task, labeled=True) for sample in training]
    findings["variants"] = {}
    for variant in ways:
        trained = train_variant(
            variant,
            sources,
            validation,
            params,
            pretrained=backbone,
            say=progress.of(variant),
            workers=workers,
        )
        folder = out / variant
        save(trained.module, folder / "model.safetensors")
        _write_history(folder, trained.rows)
        (folder / "result.json").write_bytes(canonical_json(trained.result))
        findings["variants"][variant] = trained.result
        seconds[variant] = clock.lap()
    return Outcome(findings=findings, measured={"seconds": seconds})


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
    if absent:
        raise Refused(
            f"No training series shows: {', '.join(absent)}.",
            "Annotate subjects that do, or take the structure out of `task.structures`.",
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
        "validation_dice": "double",
        "weights_sha256": "string",
        "batches_sha256": "string",
    }
    columns = {name: kind for name, kind in kinds.items() if name in rows[0]}
    write_table(folder / "history.parquet", rows, columns)


class _Progress:
    """Fraction done over all parts, by epochs."""

    def __init__(self, params: Parameters, *, pretrains: bool, say: Say) -> None:
        self._before, self._say = 0, say
        self._epochs: dict[str, int] = dict.fromkeys(params.train.variants, params.train.epochs)
        self._extra = params.train.pretraining.epochs if pretrains else 0
        self._total = self._extra + sum(self._epochs.values())

    def of(self, part: str) -> Callable[[int, float], None]:
        start, count = self._before, self._epochs.get(part, self._extra)
        self._before += count

        def say(epoch: int, loss: float) -> None:
            text = f"{part}: epoch {epoch} of {count}, loss {loss:.4f}"
            self._say(text, (start + epoch) / self._total)

        return say
