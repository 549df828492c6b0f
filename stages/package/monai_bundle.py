"""The bundle's MONAI side: `configs/metadata.json` and `configs/inference.json`.

Source: MONAI Bundle Specification and its metadata schema of 2024-07-25. One deviation, by
intention: the specification's `models/model.pt` is a pickle, so the weights are
`models/model.safetensors`, and `inference.json` loads them with `safetensors`.

`inference.json` is a MONAI configuration that needs MONAI, safetensors and pydicom alone. It reads
folders of DICOM series below `dataset_dir` and writes a label map a series as NumPy arrays, axes
(slices along the normal, rows, columns) on the network's grid. Results in DICOM, limits and
refusals are what `kette infer` adds.
"""

from __future__ import annotations

import inspect
import pydoc
from importlib.metadata import version
from typing import Any

from audit.errors import WrongUse
from stages.bundle import BundleConfig
from stages.package import monai_classes
from stages.package.params import PackageParams
from stages.params import Volume

Json = dict[str, Any]

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)


def metadata(
    config: BundleConfig, package: PackageParams, results: Json, areas: Json | None = None
) -> Json:
    """`configs/metadata.json`.

    Args:
        config: of the bundle.
        package: the section of the parameters.
        results: structure → mean Dice on the locked test split.
        areas: class (`all`: their mean) → area under the ROC curve there.
    """
    structures, classes = config.task.structures, config.task.classes
    asked = [f"segments {', '.join(s.name for s in structures)}"] if structures else []
    asked += [f"tells {', '.join(label.name for label in classes)} apart"] if classes else []
    channels = {"0": "background"} | {
        str(index): structure.name for index, structure in enumerate(structures, 1)
    }
    if not structures:
        channels = {str(index): label.name for index, label in enumerate(classes)}
    grid = ["1" if config.volume.planar else "8*a", "8*b", "8*c"]
    window = config.volume.window
    return {
        "schema": SCHEMA,
        "name": config.name,
        "version": package.version,
        "changelog": {package.version: package.title, **package.changelog},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {
            name: version(name) for name in ("pydicom", "safetensors", "scipy")
        },
        "task": package.title,
        "description": (
            f"{config.network.target.rpartition('.')[2]} that {' and '.join(asked)} "
            f"on {config.task.modality}, "
            "made by Kette; configs/kette.json holds the limits of its use."
            + (_BOTH if structures and classes else "")
        ),
        "authors": package.authors,
        "copyright": package.copyright,
        "intended_use": package.intended_use,
        "data_type": "dicom",
        "image_classes": f"one channel of {config.task.modality}, normalized",
        "label_classes": "; ".join(f"{index}: {name}" for index, name in channels.items()),
        "pred_classes": f"{len(channels)} channels, the highest one is the class",
        "eval_metrics": {f"dice_{name}": value for name, value in sorted(results.items())}
        | {f"auc_{name}": value for name, value in sorted((areas or {}).items())},
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": _FORMATS[config.task.modality],
                    "modality": config.task.modality,
                    "num_channels": 1,
                    "spatial_shape": grid,
                    "dtype": "float32",
                    "value_range": [] if window is None else [0, 1],
                    "is_patch_data": True,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image" if structures else "probabilities",
                    "format": "labels" if structures else "classes",
                    "num_channels": len(channels),
                    "spatial_shape": grid if structures else [],
                    "dtype": "float32",
                    "value_range": [] if structures else [0, 1],
                    "is_patch_data": bool(structures),
                    "channel_def": channels,
                }
            },
        },
    }


def inference(config: BundleConfig) -> Json:
    """`configs/inference.json`, for `monai.bundle.run`."""
    whole = _inference(config)
    if config.task.structures:
        return whole
    del whole["postprocessing"]
    whole |= {name: part for name, part in monai_classes.steps(config).items() if name != "read"}
    whole["imports"].append("$import pydicom")
    if config.pictures:
        transforms = [
            {"_target_": "Lambdad", "keys": "image", "func": monai_classes.steps(config)["read"]},
            {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": "no_channel"},
            *_normalization(config.volume),
        ]
        whole["preprocessing"]["transforms"] = transforms
    return whole


def _inference(config: BundleConfig) -> Json:
    return {
        "imports": ["$import pathlib", "$from safetensors.torch import load_file"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "device": "$torch.device('cpu')",
        "weights": "$@bundle_root + '/models/model.safetensors'",
        "network_def": {
            "_target_": config.network.target,
            **_arguments(config),
            **config.network.arguments,
        },
        "network": (
            "$(lambda network, weights: (network.load_state_dict(weights), network.eval())[1])"
            f"(@network_def.to(@device), {_weights(config)})"
        ),
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": "PydicomReader",
                    "ensure_channel_first": True,
                    "affine_lps_to_ras": False,
                },
                # DICOM's order of slices: along the normal, whatever the instance numbers say.
                {
                    "_target_": "Lambdad",
                    "keys": "image",
                    "func": (
                        "$lambda image: image if torch.linalg.det(image.affine[:3, :3]) > 0 "
                        "else image.flip(3)"
                    ),
                },
                *_resampling(config.volume),
                {"_target_": "Transposed", "keys": "image", "indices": [0, 3, 2, 1]},
                *_normalization(config.volume),
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": (
                "$[{'image': str(folder), 'name': folder.name} "
                "for folder in sorted(pathlib.Path(@dataset_dir).iterdir())]"
            ),
            "transform": "@preprocessing",
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(config.volume.patch),
            "overlap": config.volume.overlap,
            "mode": "gaussian",
            "padding_mode": "constant",
        },
        "postprocessing": {"_target_": "AsDiscrete", "argmax": True},
        "predict": (
            "$lambda image: @postprocessing(torch.inference_mode()(@inferer)"
            f"(image.as_tensor()[None].to(@device), {_network(config)})[0])[0]"
            ".cpu().numpy().astype('uint8')"
        ),
        "initialize": ["$pathlib.Path(@output_dir).mkdir(parents=True, exist_ok=True)"],
        "run": (
            "$[numpy.save(pathlib.Path(@output_dir) / (item['name'] + '.npy'), "
            "@predict(item['image'])) for item in @dataset]"
        ),
    }


_FORMATS = {"CT": "hounsfield", "MR": "magnitude", "US": "magnitude"}
_BOTH = " configs/inference.json gives the segmentation alone; `kette infer` gives both."


def _network(config: BundleConfig) -> str:
    """The network as a function of (batch, 1, slices, rows, columns)."""
    return "lambda x: @network(x[:, :, 0])[:, :, None]" if config.volume.planar else "@network"


def _arguments(config: BundleConfig) -> Json:
    """Dimensions and channels, by the names that the class has for them."""
    outputs = config.channels_out if config.task.structures else len(config.task.classes)
    known = {
        "spatial_dims": 2 if config.volume.planar else 3,
        "in_channels": 1,
        "n_input_channels": 1,
        "out_channels": outputs,
        "num_classes": outputs,
    }
    made = pydoc.locate(config.network.target)
    if not callable(made):
        raise WrongUse(f"There is no class {config.network.target}.", "Install what it is part of.")
    taken = inspect.signature(made).parameters
    return {name: value for name, value in known.items() if name in taken}


def _weights(config: BundleConfig) -> str:
    """The bare network's weights: what stands around it has names of its own before them."""
    around = "backbone." if config.task.structures and config.task.classes else ""
    around += "network." if config.volume.planar else ""
    if not around:
        return "load_file(@weights)"
    return (
        f"{{k[{len(around)}:]: v for k, v in load_file(@weights).items() "
        f"if k.startswith('{around}')}}"
    )


def _resampling(volume: Volume) -> list[Json]:
    """Axes are still (columns, rows, slices) here."""
    if volume.spacing_mm is None:
        return []
    return [
        {
            "_target_": "Spacingd",
            "keys": "image",
            "pixdim": list(reversed(volume.spacing_mm)),
            "mode": "bilinear",
        }
    ]


def _normalization(volume: Volume) -> list[Json]:
    if volume.window is not None:
        low, high = volume.window
        return [
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": low,
                "a_max": high,
                "b_min": 0.0,
                "b_max": 1.0,
                "clip": True,
            }
        ]
    return [
        {"_target_": "ClipIntensityPercentilesd", "keys": "image", "lower": 0.5, "upper": 99.5},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
    ]
