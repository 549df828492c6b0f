"""From the trees of a finished chain to its ladder: what stands on each rung, read and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from audit.canonical import digest_json
from stages.archive import ZipReader
from stages.artifact import Digest, Manifest, digest_file
from stages.bundle import MANIFEST
from stages.ladder import Facts, Json, Ladder, Rung
from stages.table import read_table

LIMIT_BYTES, LIMIT_ENTRIES = 8 * 2**30, 1_000
Trees = Mapping[str, Path]
"""Label, as a stage's inputs name it (`train/variants`), → folder."""


def ladder_of(
    trees: Trees,
    *,
    inputs: Mapping[str, Digest],
    parameters: Json,
    code: Mapping[str, Mapping[str, Digest]],
    environment: Mapping[str, str],
    settings: Mapping[str, int],
    missing: Iterable[str] = (),
) -> Ladder:
    """The ladder of a finished chain.

    Args:
        trees: the units' and merged trees of the stages from `dataset` to `package`.
        inputs: path below `data/` → SHA-256, as the chain found or made it.
        parameters: resolved sections.
        code: stage → file or class → digest.
        environment: name → value (`stages.lock.environment` and what numeric workers told).
        settings: machine settings that decide no bits.
        missing: subjects that the chain had to go without.
    """
    values = dict(flat(parameters))
    parts: dict[str, Mapping[str, Digest]] = {
        "inputs": inputs,
        "parameters": {key: digest_json(value) for key, value in values.items()},
        "code": {
            f"{stage}/{file}": digest
            for stage, files in code.items()
            for file, digest in files.items()
        },
        "environment": {name: digest_json(value) for name, value in environment.items()},
        **{name: read(trees) for name, read in _READERS.items()},
    }
    cohort = trees["dataset/cohort"]
    return Ladder(
        rungs=tuple(Rung.of(name, found) for name, found in parts.items()),
        facts=Facts(
            parameters=values,
            environment=dict(environment),
            code=code,
            settings=settings,
            annotations=tuple(
                f"{row['subject']}/{row['series']}.zip"
                for row in read_table(cohort / "series.parquet")
                if row["kind"] == "annotation"
            ),
            missing=tuple(missing),
        ),
        scores=tuple(read_table(trees["assess/test"] / "scores.parquet")),
    )


def files_of(folder: Path) -> dict[str, Digest]:
    """Relative path → SHA-256 of every file below a folder."""
    return {entry.path: entry.sha256 for entry in Manifest.of(folder).files}


def flat(value: Any, key: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted key → value; lists of plain values stay whole."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, inner in enumerate(value):
            yield from flat(inner, f"{key}.{number}")
    else:
        yield key, value


def _split(trees: Trees) -> dict[str, Digest]:
    """Subject → its row of `splits.parquet`."""
    return _rows(trees["dataset/cohort"] / "splits.parquet", ("subject",))


def _preprocessing(trees: Trees) -> dict[str, Digest]:
    """`<subject>/<series>` → the prepared volume and its labels, as training had them."""
    return _rows(trees["train/variants"] / "preprocessing.parquet", ("subject", "series"))


def _batches(trees: Trees) -> dict[str, Digest]:
    return _epochs(trees, "batches_sha256")


def _weights(trees: Trees) -> dict[str, Digest]:
    chosen = json.loads((trees["train"] / "candidate.json").read_bytes())
    return _epochs(trees, "weights_sha256") | {
        f"chosen: {chosen['variant']}": chosen["weights_sha256"]
    }


def _epochs(trees: Trees, column: str) -> dict[str, Digest]:
    """`<variant>/<epoch>` → a digest of its history."""
    return {
        f"{path.parent.name}/{row['epoch']:04d}": row[column]
        for path in sorted(trees["train/variants"].glob("*/history.parquet"))
        for row in read_table(path)
    }


def _onnx(trees: Trees) -> dict[str, Digest]:
    return {"model.onnx": digest_file(trees["optimize/targets"] / "model.onnx")}


def _engines(trees: Trees) -> dict[str, Digest]:
    """What the targets' runtimes open, and how equal each was."""
    tree = trees["optimize/targets"]
    files = {name: digest for name, digest in files_of(tree).items() if "/" in name}
    return files | _rows(tree / "equivalence.parquet", ("target",))


def _predictions(trees: Trees) -> dict[str, Digest]:
    return files_of(trees["assess/test"] / "predictions")


def _metrics(trees: Trees) -> dict[str, Digest]:
    scores = _rows(trees["assess/test"] / "scores.parquet", ("subject", "series", "structure"))
    return scores | _rows(trees["assess"] / "metrics.parquet", ("group", "structure"))


def _report(trees: Trees) -> dict[str, Digest]:
    return {"report.html": digest_file(trees["package/bundle"] / "report.html")}


def _archive(trees: Trees) -> dict[str, Digest]:
    """The archive itself, and its members."""
    path = next(trees["package/bundle"].glob("*.zip"))
    with ZipReader(path, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES) as archive:
        manifest = Manifest.model_validate_json(archive.read(MANIFEST))
    return {path.name: digest_file(path)} | {e.path: e.sha256 for e in manifest.files}


def _rows(path: Path, names: tuple[str, ...]) -> dict[str, Digest]:
    """Values of the naming columns, by `/`, → digest of the row."""
    return {
        "/".join(str(row[name]) for name in names): digest_json(row) for row in read_table(path)
    }


_READERS: dict[str, Callable[[Trees], dict[str, Digest]]] = {
    "split": _split,
    "preprocessing": _preprocessing,
    "batches": _batches,
    "weights": _weights,
    "onnx": _onnx,
    "engines": _engines,
    "predictions": _predictions,
    "metrics": _metrics,
    "report": _report,
    "archive": _archive,
}
