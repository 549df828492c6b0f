"""The bundle's MONAI side for a task of classes alone: what `configs/inference.json` does then.

It reads DICOM: below `dataset_dir` a folder a series of slices or a single file a picture. It
writes the classes' probabilities as a NumPy array a case. A gray picture is read as `kette infer`
reads it; of a color picture the luminance, of several frames the first 32.
"""

from __future__ import annotations

from typing import Any

from stages.bundle import BundleConfig

Json = dict[str, Any]

_LUMINANCE = (
    "((p * numpy.array([0.299, 0.587, 0.114])).sum(-1) if p.shape[-1] == 3 and p.ndim > 2 else p)"
)
_READ = (
    "$lambda path: (lambda p: (lambda q: q.reshape((-1, *q.shape[-2:]))[:32].astype('float32'))"
    f"({_LUMINANCE}))(pydicom.dcmread(path).pixel_array)"
)


def steps(config: BundleConfig) -> Json:
    """`read` (pictures alone), `inferer` and `predict`: from a prepared image to probabilities.

    A prepared image is (1, slices, rows, columns).
    """
    planar = config.volume.planar
    patch = list(config.volume.patch)
    # Slices are the batch of a two-dimensional network: their number stays as it is.
    size = [-1, *patch[1:]] if planar else patch
    shown = "x[0][:, None]" if planar else "x[None]"
    found: Json = {
        "inferer": {
            "_target_": "ResizeWithPadOrCrop",
            "spatial_size": size,
            "mode": "minimum",
        },
        "predict": (
            "$lambda image: torch.inference_mode()(lambda x: "
            f"torch.softmax(@network({shown}.to(@device)), 1).mean(0))"
            "(@inferer(image.as_tensor() if hasattr(image, 'as_tensor') else image)"
            ".as_tensor()).cpu().numpy()"
        ),
    }
    if config.pictures:
        found["read"] = _READ
    return found
