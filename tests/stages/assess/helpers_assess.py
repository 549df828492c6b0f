"""A candidate that needs no training, and tiny parameters."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from helpers_dicom import EPOCH, TASK

from audit.canonical import canonical_json
from stages.assess.params import AssessParams, Parameters
from stages.network import build, save
from stages.params import Network, Numerics, Project, Volume

NETWORK = Network(
    arguments={"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "INSTANCE"}
)


def parameters(**assess: Any) -> Parameters:
    """Parameters; `assess` replaces fields of the section of that name."""
    section: dict[str, Any] = {"min_dice": 0.0, "resamples": 100, "min_subjects": 2}
    return Parameters(
        project=Project(name="tiny", epoch=EPOCH),
        task=TASK,
        numerics=Numerics(threads=1, seed=7),
        volume=Volume(window=(-100.0, 200.0), patch=(8, 16, 16)),
        network=NETWORK,
        assess=AssessParams(**(section | assess)),
    )


def make_candidate(folder: Path, *, seed: int = 0) -> Path:
    """The merged tree of `train`, with weights by chance."""
    params = parameters()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(NETWORK, 3)
    save(module, folder / "model.safetensors")
    weights = (folder / "model.safetensors").read_bytes()
    candidate = {
        "schema_version": 1,
        "variant": "scratch",
        "network": NETWORK.model_dump(mode="json", by_alias=True),
        "channels_out": 3,
        "task": TASK.model_dump(mode="json"),
        "volume": params.volume.model_dump(mode="json"),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    (folder / "candidate.json").write_bytes(canonical_json(candidate))
    return folder
