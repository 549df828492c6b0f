"""Weights that somebody else trained, as a variant's start (`docs/weights.md`).

The coordinator finds the file by its digest; the unit converts it in a box, decides by names and
shapes what a network takes of it, and leaves a record of both beside the variants.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from audit.canonical import canonical_json
from audit.errors import Refused
from stages.pretrained_match import Match, fitted, match
from stages.pretrained_params import PretrainedSource
from stages.pretrained_read import Import, convert
from stages.train.params import Parameters
from stages.train.start import Weights, new_network
from stages.wrapped import bare

Json = dict[str, Any]


def read_foreign(files: Mapping[str, Path], params: Parameters, out: Path) -> dict[str, Weights]:
    """Every source that variants start from, by the names of the network's own tensors.

    Args:
        files: name of a source → its file.
        params: of the stage.
        out: the unit's folder: `weights/<name>.json` says what was read, taken and left.

    Raises:
        Refused: a file is no weights, or the network takes nothing of it.
    """
    found = {}
    for name, path in sorted(files.items()):
        weights, record = _read(name, path, params.weights.sources[name], params)
        target = out / "weights" / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(canonical_json(record))
        found[name] = weights
    return found


def _read(
    name: str, path: Path, source: PretrainedSource, params: Parameters
) -> tuple[Weights, Json]:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "weights.safetensors"
        imported = convert(path, source, made)
        tensors = load_file(made)
    module, _ = new_network(params.network, params.task, params.volume, params.numerics.seed)
    shapes = {key: tuple(tensor.shape) for key, tensor in bare(module).state_dict().items()}
    matched = match(shapes, imported.shapes, source)
    if not matched.taken:
        raise Refused(
            f"The network takes no tensor of the pre-trained weights `{name}`.",
            "Mend `prefix` and `mapping` of the entry; `weights/` in the record lists both sides.",
        )
    weights: dict[str, torch.Tensor] = fitted(matched, tensors, shapes)
    return weights, _record(imported, matched)


def _record(imported: Import, matched: Match) -> Json:
    return {
        "schema_version": 1,
        "import": imported.model_dump(mode="json"),
        "match": matched.model_dump(mode="json"),
    }
