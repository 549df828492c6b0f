"""The choice among the trained variants, and the gate of the stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audit.canonical import canonical_json
from stages.channels import channels_count
from stages.pretrained_findings import license_findings, preprocessing_findings
from stages.stage import Check, Gate, Verdict
from stages.stage import Outcome as StageOutcome
from stages.table import read_table, write_table
from stages.train.params import Parameters, TrainParams
from stages.train.scores import Outcome
from stages.train.selection import benefit, select
from stages.train.significance import Compared, Interval, Resampled, compare
from stages.train.ways import RANDOM, SELF_SUPERVISED

Results = dict[str, dict[str, Any]]
_FIGURES = ("dice_", "auc_")


def choose(tree: Path, params: Parameters, out: Path) -> StageOutcome:
    """Apply the declared rule to the finalists (TRN-5).

    Args:
        tree: the unit's folder.
        params: of the stage.
        out: `model.safetensors`, `candidate.json`, `comparison.parquet` and `curves.parquet` are
            written here.
    """
    train, options = params.train, params.train.comparison
    trials = read_table(tree / "trials.parquet")
    finals = [row for row in trials if row["part"] == "final"]
    names = tuple(name for name in train.ways if any(row["variant"] == name for row in finals))
    resampled = Resampled(
        {name: [_outcomes(tree, r) for r in finals if r["variant"] == name] for name in names},
        params.task,
        resamples=options.resamples,
        seed=params.numerics.seed,
    )
    compared = compare(resampled, names, options.confidence)
    below = {
        name: -(found.difference.mean if options.rule == "mean" else found.difference.low)
        for name, found in compared.items()
    }
    chosen = select(below, names, train.margin)
    results: Results = {
        name: json.loads((tree / name / "result.json").read_bytes()) for name in names
    }
    _write_candidate(tree, params, chosen, results[chosen]["weights_sha256"], out)
    _write_comparison(out / "comparison.parquet", results, compared, chosen)
    _write_curves(out / "curves.parquet", trials)
    scores = {name: found.score.mean for name, found in compared.items()}
    gained = benefit(scores, frozenset(n for n in names if train.ways[n].start != RANDOM))
    gain = None
    if gained is not None:
        gain = resampled.interval(gained[0], options.confidence, less=gained[1])
    findings = {
        "chosen": chosen,
        "score": scores,
        "pretraining_gain": None if gain is None else gain.mean,
        "weights_sha256": results[chosen]["weights_sha256"],
    }
    checks = (*gate(chosen, scores[chosen], gain, train).checks, *_foreign(params))
    return StageOutcome(findings=findings, gate=Gate(checks=checks))


def _foreign(params: Parameters) -> Iterator[Check]:
    """How the images differ from those of every source that a variant starts from (TRN-12)."""
    for name in params.foreign:
        source = params.weights.sources[name]
        yield from license_findings(name, source, params.weights.licenses, rule="TRN-12")
        yield from preprocessing_findings(
            name,
            source,
            params.volume,
            dims=2 if params.volume.planar else 3,
            rule="TRN-12",
        )


def gate(chosen: str, score: float, gain: Interval | None, train: TrainParams) -> Gate:
    """Hold the choice against the declared limits (TRN-6, TRN-7, TRN-10)."""
    enough = score >= train.min_score
    checks = [
        Check(
            rule="TRN-6",
            figure=f"validation score {score:.3f} of {chosen}",
            limit=f"at least {train.min_score:g} (train.min_score)",
            verdict=Verdict.PASSED if enough else Verdict.REFUSED,
            remedy=""
            if enough
            else "Train longer (train.epochs), annotate more subjects, or check the annotations.",
        )
    ]
    if gain is not None:
        helps = gain.mean > train.margin
        checks.append(
            Check(
                rule="TRN-7",
                figure=f"pre-training changes the best validation score by {gain.mean:+.3f} "
                f"({train.comparison.confidence:.0%} interval {gain.low:+.3f} to {gain.high:+.3f})"
                + ("" if helps else ": no benefit"),
                limit=f"more than {train.margin:g} (train.margin)",
                verdict=Verdict.PASSED if helps else Verdict.FINDINGS,
                remedy=""
                if helps
                else "Argue for the choice without it, or drop the ways that start from it.",
            )
        )
    way = train.ways.get(chosen)
    if way is not None and way.privacy is not None:
        checks.append(
            Check(
                rule="TRN-10",
                figure=f"{chosen}: epsilon {way.privacy.epsilon:g}, the noise from numerics.seed"
                + (
                    f"; its start ({way.start}) saw the same images without noise"
                    if way.start in SELF_SUPERVISED
                    else ""
                ),
                limit="a secret source of noise (fixed)",
                verdict=Verdict.FINDINGS,
                remedy="Claim the bound only towards those who do not have the parameters.",
            )
        )
    return Gate(checks=tuple(checks))


def _outcomes(tree: Path, trial: dict[str, Any]) -> list[Outcome]:
    rows = read_table(tree / trial["trial"] / "outcomes.parquet")
    return [Outcome(**row) for row in rows]


def _write_candidate(tree: Path, params: Parameters, chosen: str, digest: str, out: Path) -> None:
    shutil.copyfile(tree / chosen / "model.safetensors", out / "model.safetensors")
    candidate = {
        "schema_version": 1,
        "variant": chosen,
        "network": params.network.model_dump(mode="json", by_alias=True),
        "channels_out": channels_count(params.task),
        "task": params.task.model_dump(mode="json"),
        "volume": params.volume.model_dump(mode="json"),
        "weights_sha256": digest,
    }
    (out / "candidate.json").write_bytes(canonical_json(candidate))


def _write_comparison(
    path: Path, results: Results, compared: dict[str, Compared], chosen: str
) -> None:
    """A row a finalist: mean over seeds with its interval, its difference to the best, its test."""
    figures = sorted({name for r in results.values() for name in r if name.startswith(_FIGURES)})
    columns = {
        "variant": "string",
        "score": "double",
        "score_low": "double",
        "score_high": "double",
        "difference": "double",
        "difference_low": "double",
        "difference_high": "double",
        "p": "double",
        **dict.fromkeys(figures, "double"),
        "trained_parameters": "int64",
        "parameters": "int64",
        "epochs": "int64",
        "selected_epoch": "int64",
        "selected": "bool",
    }
    rows = []
    for name, result in results.items():
        found = compared[name]
        own = {column: result[column] for column in columns if column in result}
        rows.append(
            own
            | {
                "score": found.score.mean,
                "score_low": found.score.low,
                "score_high": found.score.high,
                "difference": found.difference.mean,
                "difference_low": found.difference.low,
                "difference_high": found.difference.high,
                "p": found.p,
                "selected": name == chosen,
            }
        )
    write_table(path, rows, columns)


def _write_curves(path: Path, trials: list[dict[str, Any]]) -> None:
    """Learning curves: a row a variant and number of labeled subjects, the mean over seeds."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in trials:
        if row["part"] in ("final", "labels"):
            found.setdefault((row["variant"], row["labels"]), []).append(row["score"])
    rows = [
        {
            "variant": variant,
            "labels": labels,
            "seeds": len(values),
            "score": round(sum(values) / len(values), 6),
            "lowest": min(values),
            "highest": max(values),
        }
        for (variant, labels), values in found.items()
    ]
    columns = {
        "variant": "string",
        "labels": "int64",
        "seeds": "int64",
        "score": "double",
        "lowest": "double",
        "highest": "double",
    }
    write_table(path, rows, columns)
