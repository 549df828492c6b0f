"""The bundle as MONAI reads it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_package import HOSTILE, parameters, run_stage, series_of, write_trees

from stages.bundle import BundleConfig
from stages.package.monai_bundle import inference
from stages.volume import prepare
from stages.windows import sliding_window

pytestmark = [
    # MONAI and torch warn of their own deprecated calls.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:monai"),
]
SUBJECT = "s-test000001"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_trees(tmp_path_factory.mktemp("trees"))


@pytest.fixture(scope="module")
def root(trees: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked archive, with a series to read."""
    folder, _, _ = run_stage(trees, tmp_path_factory.mktemp("built"))
    root = tmp_path_factory.mktemp("bundle")
    with zipfile.ZipFile(folder / "phantom-1.2.3.zip") as archive:
        archive.extractall(root)
    series = trees["dataset/cohort"] / SUBJECT / f"{series_of(SUBJECT)}.zip"
    with zipfile.ZipFile(series) as archive:
        archive.extractall(root / "input" / "one")
    return root


def parser(root: Path) -> Any:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    parser.read_meta(root / "configs" / "metadata.json")
    parser["bundle_root"] = str(root)
    return parser


@pytest.mark.rule("PKG-8")
def test_the_configuration_makes_the_network_with_the_released_weights(root: Path) -> None:
    import torch
    from safetensors.torch import load_file

    network = parser(root).get_parsed_content("network")
    weights = load_file(root / "models" / "model.safetensors")
    assert not network.training
    assert network.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("window", [(-200.0, 300.0), None], ids=["window", "z-score"])
def test_monais_own_run_predicts_what_our_own_code_predicts(
    root: Path, trees: dict[str, Path], tmp_path: Path, window: tuple[float, float] | None
) -> None:
    from monai.bundle import run

    from stages.network import build, load, predictor
    from stages.series import read_series

    released = BundleConfig.model_validate_json((root / "configs" / "kette.json").read_bytes())
    volume = released.volume.model_copy(update={"window": window})
    config = inference(released.model_copy(update={"volume": volume}))
    text = json.dumps(config)
    if window == released.volume.window:
        own = json.loads((root / "configs" / "inference.json").read_bytes())
        assert json.loads(text) == own, "what is run here is what is released"
    (tmp_path / "inference.json").write_text(text)
    run(
        config_file=str(tmp_path / "inference.json"),
        meta_file=str(root / "configs" / "metadata.json"),
        bundle_root=str(root),
        output_dir=str(tmp_path),
    )
    found = np.load(tmp_path / "one.npy")

    params = parameters()
    network = build(params.network, params.task, params.volume).eval()
    load(network, root / "models" / "model.safetensors")
    path = trees["dataset/cohort"] / SUBJECT / f"{series_of(SUBJECT)}.zip"
    series = read_series(path)
    assert series.voxels is not None
    prepared = prepare(series.voxels, series.geometry.spacing_mm, volume)
    scores = sliding_window(predictor(network), prepared.array, volume, 3)
    own = scores.argmax(axis=0)
    assert found.shape == own.shape
    assert len(np.unique(own)) > 1, "a network that answers with one class would prove nothing"
    assert (found == own).mean() > 0.999


def test_the_metadata_has_what_the_schema_requires(root: Path) -> None:
    """Required keys of MONAI's `meta_schema_20240725.json`, and of its tensor definition."""
    metadata = json.loads((root / "configs" / "metadata.json").read_bytes())
    assert metadata["version"] == "1.2.3"
    assert HOSTILE in metadata["intended_use"]
    for key in (
        *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task"),
        *("description", "authors", "copyright"),
    ):
        assert isinstance(metadata[key], str)
        assert metadata[key]
    assert metadata["required_packages_version"].keys() >= {"pydicom", "safetensors"}
    tensors = metadata["network_data_format"]
    for tensor in (tensors["inputs"]["image"], tensors["outputs"]["pred"]):
        assert isinstance(tensor["num_channels"], int)
        assert len(tensor["spatial_shape"]) == 3
        assert len(tensor["channel_def"]) == tensor["num_channels"]
        assert all(isinstance(tensor[key], str) for key in ("type", "format", "dtype"))
        assert all(isinstance(bound, int | float) for bound in tensor["value_range"])
    assert tensors["outputs"]["pred"]["channel_def"]["2"] == "lesion"
