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

from importlib.metadata import version
from typing import Any

from stages.bundle import BundleConfig
from stages.package.params import PackageParams
from stages.params import Volume

Json = dict[str, Any]

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)


def metadata(config: BundleConfig, package: PackageParams, results: Json) -> Json:
    """`configs/metadata.json`.

    Args:
        config: of the bundle.
        package: the section of the parameters.
        results: structure → mean Dice on the locked test split.
    """
    structures = config.task.structures
    channels = {"0": "background"} | {
        str(index): structure.name for index, structure in enumerate(structures, 1)
    }
    grid = [str(side) for side in ("8*a", "8*b", "8*c")]
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
            f"{config.network.target.rpartition('.')[2]} that segments "
            f"{', '.join(structure.name for structure in structures)} on {config.task.modality}, "
            "made by Kette; configs/kette.json holds the limits of its use."
        ),
        "authors": package.authors,
        "copyright": package.copyright,
        "intended_use": package.intended_use,
        "data_type": "dicom",
        "image_classes": f"one channel of {config.task.modality}, normalized",
        "label_classes": "; ".join(f"{index}: {name}" for index, name in channels.items()),
        "pred_classes": f"{config.channels_out} channels, the highest one is the class",
        "eval_metrics": {f"dice_{name}": value for name, value in sorted(results.items())},
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if config.task.modality == "CT" else "magnitude",
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
                    "type": "image",
                    "format": "labels",
                    "num_channels": config.channels_out,
                    "spatial_shape": grid,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": channels,
                }
            },
        },
    }


def inference(config: BundleConfig) -> Json:
    """`configs/inference.json`, for `monai.bundle.run`."""
    return {
        "imports": ["$import pathlib", "$from safetensors.torch import load_file"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "device": "$torch.device('cpu')",
        "weights": "$@bundle_root + '/models/model.safetensors'",
        "network_def": {
            "_target_": config.network.target,
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": config.channels_out,
            **config.network.arguments,
        },
        "network": (
            "$(lambda network, weights: (network.load_state_dict(weights), network.eval())[1])"
            "(@network_def.to(@device), load_file(@weights))"
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
            "(image.as_tensor()[None].to(@device), @network)[0])[0].cpu().numpy().astype('uint8')"
        ),
        "initialize": ["$pathlib.Path(@output_dir).mkdir(parents=True, exist_ok=True)"],
        "run": (
            "$[numpy.save(pathlib.Path(@output_dir) / (item['name'] + '.npy'), "
            "@predict(item['image'])) for item in @dataset]"
        ),
    }


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
