"""A candidate that needs no training, and tiny parameters."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from helpers_dicom import EPOCH, TASK
from helpers_picture import TASK as PICTURES

from audit.canonical import canonical_json
from stages.assess.params import AssessParams, Parameters
from stages.channels import channels_count
from stages.network import build, save
from stages.params import Network, Numerics, Project, Volume

NETWORK = Network(
    arguments={"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "INSTANCE"}
)

CLASSIFIER = Network(
    _target_="monai.networks.nets.DenseNet",
    arguments={"init_features": 4, "growth_rate": 2, "block_config": (1, 1)},
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


def class_parameters(**assess: Any) -> Parameters:
    """Parameters of a task of classes alone, on pictures."""
    section: dict[str, Any] = {"min_auc": 0.0, "resamples": 100, "min_subjects": 2}
    return Parameters(
        project=Project(name="tiny", epoch=EPOCH),
        task=PICTURES,
        numerics=Numerics(threads=1, seed=7),
        volume=Volume(window=(0.0, 255.0), patch=(1, 24, 24)),
        network=CLASSIFIER,
        assess=AssessParams(**(section | assess)),
    )


def make_candidate(folder: Path, *, seed: int = 0, params: Parameters | None = None) -> Path:
    """The merged tree of `train`, with weights by chance."""
    params = params or parameters()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(params.network, params.task, params.volume)
    save(module, folder / "model.safetensors")
    weights = (folder / "model.safetensors").read_bytes()
    candidate = {
        "schema_version": 1,
        "variant": "scratch",
        "network": params.network.model_dump(mode="json", by_alias=True),
        "channels_out": channels_count(params.task),
        "task": params.task.model_dump(mode="json"),
        "volume": params.volume.model_dump(mode="json"),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    (folder / "candidate.json").write_bytes(canonical_json(candidate))
    return folder
