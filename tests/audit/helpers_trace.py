"""A ledger that says what a small chain made: two subjects, ingested to packaged."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from helpers_audit import EPOCH, ORIGIN, stage_run
from securesystemslib.signer import Signer

from audit.canonical import digest_json
from audit.ledger import Ledger
from audit.statement import event

SUBJECTS = ("S1", "S2")


def tree(label: str, version: int = 0) -> str:
    """Digest of a tree, as its label and version stand for it."""
    return digest_json([label, version])


def file_of(label: str, path: str, version: int = 0) -> tuple[str, str]:
    """Name and digest of a tree's file."""
    return f"{label}/{path}", digest_json([label, path, version])


def made(label: str, inputs: dict[str, str], *paths: str, version: int = 0) -> dict[str, Any]:
    """The statement of one unit or merge."""
    stage, _, unit = label.partition("/")
    gate = {"checks": [_check()]} if not unit else None
    return stage_run(
        subjects=[(label, tree(label, version)), *(file_of(label, p, version) for p in paths)],
        stage=stage,
        unit=unit,
        key=digest_json([label, inputs]),
        inputs=inputs,
        gate=gate,
        finished=EPOCH + timedelta(minutes=1),
    )


def _check() -> dict[str, Any]:
    return {
        "rule": "T-1", "figure": "1", "limit": "at least 1", "verdict": "passed", "remedy": "",
    }  # fmt: skip


def chain(version: int = 0) -> list[dict[str, Any]]:
    """Statements of one run, in order; `version` changes what the test split's unit made."""
    trees: dict[str, str] = {}
    found = []

    def add(label: str, wanted: tuple[str, ...], *paths: str, **outside: str) -> None:
        number = version if label in {"assess/test", "assess", "package/bundle", "package"} else 0
        inputs = {name: trees[name] for name in wanted}
        inputs |= {f"source/{name}": sha for name, sha in outside.items()}
        found.append(made(label, inputs, *paths, version=number))
        trees[label] = tree(label, number)

    for subject in SUBJECTS:
        source = digest_json(["incoming", subject])
        add(f"ingest/{subject}", (), f"{subject}.zip", **{source[:16]: source})
    units = tuple(f"ingest/{subject}" for subject in SUBJECTS)
    add("ingest", units, "instances.parquet")
    add("dataset/cohort", (*units, "ingest"), "ingest.parquet")
    add("train/plain", ("dataset/cohort",))
    add("assess/test", ("dataset/cohort", "train/plain"), "predictions/S1/1.2.3.dcm")
    add("assess", ("assess/test",), "metrics.parquet")
    add("package/bundle", ("assess", "train/plain"), "x-1.0.0.zip")
    add("package", ("package/bundle",))
    return found


def chain_ledger(folder: Path, signer: Signer) -> Ledger:
    """One run, a note of reuse, a second run whose test split's unit made something else."""
    ledger = Ledger(folder, ORIGIN)
    ledger.append(chain(), signer)
    label = "assess/test"
    reuse = event("reused", at=EPOCH, details={"stage": "assess"}, subjects=[(label, tree(label))])
    ledger.append([reuse, *chain(1)[5:]], signer)
    ledger.checkpoint(signer)
    return ledger
