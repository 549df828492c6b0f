"""Peak memory of labeling a large volume with 20 classes (`python -m benchmarks.inference_memory`).

A volume is prepared (z-score), labeled by a small MONAI UNet in ONNX Runtime, and restored, each
time in a process of its own; the peak is that process's, interpreter and runtime included. The peer
is MONAI's `SlidingWindowInferer` on the same volume, network, patch and overlap, which keeps the
scores of the whole. At the full side it needs more than 8 GiB, so it is run at two smaller sides
and its peak there continued by the number of voxels; that line says so.
`python -m benchmarks.inference_memory all` runs it at the full side too.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIDE = 512
SMALLER = (192, 288)
CLASSES = 20
PATCH = (64, 64, 64)
OVERLAP = 0.25
THREADS = 2
LIMIT_GIB = 3.0


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        _child("export", model, 0)
        print(f"{CLASSES} classes, patch {PATCH}, overlap {OVERLAP}; peak of the process, GiB")
        own = {side: _child("kette", model, side) for side in (*SMALLER, SIDE)}
        peer = {side: _child("monai", model, side) for side in SMALLER}
        for side in SMALLER:
            print(
                f"{side}³: kette {own[side]:.2f}, MONAI {peer[side]:.2f} (measured), "
                f"ratio {own[side] / peer[side]:.2f}"
            )
        small, large = SMALLER
        slope = (peer[large] - peer[small]) / (large**3 - small**3)
        peer[SIDE] = peer[large] + slope * (SIDE**3 - large**3)
        how = f"continued from {small}³ and {large}³"
        if sys.argv[1:] == ["all"]:
            peer[SIDE], how = _child("monai", model, SIDE), "measured"
        print(
            f"{SIDE}³: kette {own[SIDE]:.2f} (measured; limit {LIMIT_GIB:.0f}), "
            f"MONAI {peer[SIDE]:.2f} ({how}), ratio {own[SIDE] / peer[SIDE]:.2f}"
        )


def _child(what: str, model: Path, side: int) -> float:
    command = (sys.executable, "-m", "benchmarks.inference_memory", what, str(model), str(side))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def _volume(side: int) -> np.ndarray:
    """Noise in the shape of a CT series, made slice by slice."""
    chance = np.random.default_rng(0)
    voxels = np.empty((side, side, side), np.float32)
    for plane in voxels:
        plane[:] = chance.standard_normal((side, side), dtype=np.float32)
    return voxels


def _export(model: Path) -> None:
    from monai.networks.nets import UNet

    from stages.optimize.export import onnx_model

    network = UNet(3, 1, CLASSES, channels=(4, 8, 16), strides=(2, 2))
    model.write_bytes(onnx_model(network, PATCH))


def _kette(model: Path, side: int) -> np.ndarray:
    from stages.params import Code, Structure, Task, Volume
    from stages.runtime import predictor
    from stages.volume import prepare, restore
    from stages.windows import predict_labels

    code = Code(value="123037004", scheme="SCT", meaning="Anatomical Structure")
    structures = tuple(
        Structure(name=f"s{n}", label=n, segment_label=f"s{n}", code=code)
        for n in range(1, CLASSES)
    )
    volume = Volume(patch=PATCH, overlap=OVERLAP)
    predict = predictor("onnxruntime-cpu", model.name, lambda _: model.read_bytes(), THREADS)
    prepared = prepare(_volume(side), (1.0, 1.0, 1.0), volume)
    task = Task(modality="CT", structures=structures)
    return restore(predict_labels(predict, prepared.array, volume, task), prepared)


def _monai(model: Path, side: int) -> np.ndarray:
    import torch
    from monai.inferers import SlidingWindowInferer

    from stages.runtime import predictor

    predict = predictor("onnxruntime-cpu", model.name, lambda _: model.read_bytes(), THREADS)
    voxels = _volume(side)
    voxels -= voxels.mean()
    voxels /= voxels.std()
    infer = SlidingWindowInferer(PATCH, sw_batch_size=1, overlap=OVERLAP, mode="gaussian")
    scores = infer(
        torch.from_numpy(voxels)[None, None],
        lambda window: torch.from_numpy(predict(window.numpy())),
    )
    return scores[0].argmax(dim=0).to(torch.uint8).numpy()


if __name__ == "__main__":
    if sys.argv[1:] in ([], ["all"]):
        main()
    else:
        what, model, side = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
        if what == "export":
            _export(model)
        else:
            labels = {"kette": _kette, "monai": _monai}[what](model, side)
            if labels.shape != (side,) * 3 or labels.max() == 0:
                raise SystemExit("the volume was not labeled")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
