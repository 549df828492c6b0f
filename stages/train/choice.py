"""The choice among the trained variants, and the gate of the stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from audit.canonical import canonical_json
from stages.channels import channels_count
from stages.stage import Check, Gate, Outcome, Verdict
from stages.table import write_table
from stages.train.params import Parameters, TrainParams
from stages.train.selection import benefit, select
from stages.train.ways import RANDOM

Results = dict[str, dict[str, Any]]


def choose(tree: Path, params: Parameters, out: Path) -> Outcome:
    """Apply the declared rule to the unit's results (TRN-5).

    Args:
        tree: the unit's folder.
        params: of the stage.
        out: `model.safetensors`, `candidate.json` and `comparison.parquet` are written here.
    """
    results: Results = {
        variant: json.loads((tree / variant / "result.json").read_bytes())
        for variant in params.train.ways
    }
    scores = {variant: result["score"] for variant, result in results.items()}
    chosen = select(scores, tuple(params.train.ways), params.train.margin)
    shutil.copyfile(tree / chosen / "model.safetensors", out / "model.safetensors")
    candidate = {
        "schema_version": 1,
        "variant": chosen,
        "network": params.network.model_dump(mode="json", by_alias=True),
        "channels_out": channels_count(params.task),
        "task": params.task.model_dump(mode="json"),
        "volume": params.volume.model_dump(mode="json"),
        "weights_sha256": results[chosen]["weights_sha256"],
    }
    (out / "candidate.json").write_bytes(canonical_json(candidate))
    _write_comparison(out / "comparison.parquet", results, chosen)
    ways = params.train.ways
    gained = benefit(scores, frozenset(name for name in scores if ways[name].start != RANDOM))
    findings = {
        "chosen": chosen,
        "score": scores,
        "pretraining_gain": None if gained is None else round(gained, 6),
        "weights_sha256": results[chosen]["weights_sha256"],
    }
    return Outcome(findings=findings, gate=gate(chosen, scores[chosen], gained, params.train))


def gate(chosen: str, score: float, gained: float | None, train: TrainParams) -> Gate:
    """Hold the choice against the declared limits (TRN-6, TRN-7)."""
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
    if gained is not None:
        helps = gained > train.margin
        checks.append(
            Check(
                rule="TRN-7",
                figure=f"pre-training changes the best validation score by {gained:+.3f}"
                + ("" if helps else ": no benefit"),
                limit=f"more than {train.margin:g} (train.margin)",
                verdict=Verdict.PASSED if helps else Verdict.FINDINGS,
                remedy=""
                if helps
                else "Argue for the choice without it, or drop the ways that start from it.",
            )
        )
    return Gate(checks=tuple(checks))


def _write_comparison(path: Path, results: Results, chosen: str) -> None:
    figures = sorted({n for r in results.values() for n in r if n.startswith(("dice_", "auc_"))})
    columns = {
        "variant": "string",
        "score": "double",
        **dict.fromkeys(figures, "double"),
        "trained_parameters": "int64",
        "parameters": "int64",
        "epochs": "int64",
        "selected_epoch": "int64",
        "selected": "bool",
    }
    rows = [
        {name: result[name] for name in columns if name in result} | {"selected": variant == chosen}
        for variant, result in results.items()
    ]
    write_table(path, rows, columns)
