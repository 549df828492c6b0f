"""The members of the release's archive, made of the trees of the earlier stages.

Rules:

- CON-1  The archive holds models, configurations, documents, bill of materials and license; no
         image, no annotation, no signature, nothing pickled.
- CON-2  `manifest.json` lists every other member.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from audit.canonical import canonical_json
from stages.artifact import Digest, FileEntry, Manifest
from stages.bundle import CONFIG, MANIFEST, MODELS, BundleConfig, Limits, Target
from stages.cohort import labeled_cases, read_cases
from stages.package import monai_bundle, sbom
from stages.package.params import Parameters
from stages.package.results import Json, Results
from stages.picture import read_picture
from stages.series import read_series
from stages.stack import Fit

SBOM = "sbom.cdx.json"
REPORT = "docs/report.html"
WEIGHTS = "models/model.safetensors"
REQUIRED = (
    "LICENSE",
    "configs/inference.json",
    CONFIG,
    "configs/metadata.json",
    "docs/README.md",
    "docs/params.json",
    REPORT,
    WEIGHTS,
    "models/model.onnx",
    SBOM,
    MANIFEST,
)
"""Members without which an archive is no release."""

Members = dict[str, bytes]

_FOLDER = files("stages.package")


def models(trees: Mapping[str, Path]) -> Members:
    """The weights and every file that a runtime opens."""
    found = {WEIGHTS: (trees["train"] / "model.safetensors").read_bytes()}
    tree = trees["optimize/targets"]
    for path in sorted(tree.rglob("*")):
        if path.is_file() and path.suffix != ".parquet":
            found[f"models/{path.relative_to(tree).as_posix()}"] = path.read_bytes()
    return found


def config(params: Parameters, results: Results, trees: Mapping[str, Path]) -> BundleConfig:
    """`configs/kette.json`: what inference must know."""
    targets = json.loads((trees["optimize"] / "targets.json").read_bytes())["targets"]
    return BundleConfig(
        name=params.project.name,
        version=params.package.version,
        epoch=params.project.epoch,
        task=params.task,
        volume=params.volume,
        network=params.network,
        channels_out=results.candidate["channels_out"],
        numerics=params.numerics,
        models=_targets({target["target"]: target["verdict"] for target in targets}),
        limits=_limits(params, trees["dataset/cohort"]),
    )


def whole(
    params: Parameters,
    results: Results,
    made: Members,
    *,
    bundle: BundleConfig,
    report: bytes,
    parameters: Json,
) -> Members:
    """All members, the manifest included.

    Args:
        params: the sections that `package` takes.
        results: the tables of the earlier stages.
        made: of `models`.
        bundle: of `config`.
        report: the rendered report.
        parameters: all sections of the project's parameters, resolved.
    """
    dice = {r["structure"]: r["dice_mean"] for r in results.metrics if r["group"] == "all"}
    areas = {
        r["class"]: r["value"]
        for r in results.class_metrics
        if (r["group"], r["metric"]) == ("all", "auc")
    }
    extras = ("tensorrt-rtx",) if any("tensorrt-rtx/" in name for name in made) else ()
    members = made | {
        "LICENSE": (_FOLDER / "license.txt").read_bytes(),
        CONFIG: bundle.model_dump_json(indent=1, by_alias=True).encode(),
        "configs/metadata.json": _json(monai_bundle.metadata(bundle, params.package, dice, areas)),
        "configs/inference.json": _json(monai_bundle.inference(bundle)),
        "docs/README.md": _readme(params, bundle, dice, areas),
        "docs/params.json": _json(parameters),
        REPORT: report,
        SBOM: sbom.bill(
            params.project.name,
            params.package.version,
            params.project.epoch,
            digests(made),
            sbom.closure(extras),
            weights=params.weights.sources,
        ),
    }
    return members | {MANIFEST: canonical_json(manifest(members).model_dump(mode="json"))}


def digests(members: Members) -> dict[str, Digest]:
    """Member → SHA-256."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(members.items())}


def manifest(members: Members) -> Manifest:
    """What `manifest.json` says of the other members."""
    return Manifest(
        files=tuple(
            FileEntry(path=name, size=len(members[name]), sha256=digest)
            for name, digest in digests(members).items()
            if name != MANIFEST
        )
    )


def _targets(verdicts: Mapping[Any, str]) -> dict[Target, str]:
    """Proven targets in the order asked for, then those that were built but could not run."""
    return {
        name: MODELS[name]
        for wanted in ("equivalent", "not run")
        for name, verdict in verdicts.items()
        if verdict == wanted
    }


def _limits(params: Parameters, cohort: Path) -> Limits:
    """The limits by every series or picture that the network learned from (BUN-3)."""
    grids: list[tuple[tuple[int, ...], tuple[float, float, float]]] = []
    fits = set()
    for case in labeled_cases(read_cases(cohort, params.task), params.task, "train"):
        fits.add(Fit.RESAMPLE if case.resample else Fit.VOLUME)
        if case.sop:
            picture = read_picture(case.image, case.sop)
            grids.append((picture.pixels.shape, picture.spacing_mm))
        else:
            geometry = read_series(case.image, pixels=False, resample=case.resample).geometry
            grids.append((geometry.shape, geometry.spacing_mm))
    return Limits.seen(grids, params.package.limits_margin, resampled=Fit.RESAMPLE in fits)


def _readme(
    params: Parameters,
    bundle: BundleConfig,
    dice: Mapping[str, float | None],
    areas: Mapping[str, float | None],
) -> bytes:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701 - plain Markdown, shown as text
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string((_FOLDER / "readme.txt").read_text("utf-8"))
    return template.render(package=params.package, bundle=bundle, dice=dice, areas=areas).encode()


def _json(value: Json) -> bytes:
    """Readable JSON, in the order of the value."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
