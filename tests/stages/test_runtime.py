"""Runtimes: single precision, given threads, and models that cannot be opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

from audit.errors import Unreadable, WrongUse
from stages.runtime import predictor


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A convolution whose products need more than the seven bits of bfloat16's mantissa."""
    import torch

    from stages.optimize.export import onnx_model, openvino_ir

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv3d(1, 16, 3, padding=1), torch.nn.Conv3d(16, 2, 3, padding=1)
        )
    model = onnx_model(network, (8, 8, 8))
    folder: Path = tmp_path_factory.mktemp("ir") / "openvino"
    openvino_ir(model, folder)
    found = {f"openvino/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return found | {"model.onnx": model}


WINDOW = np.random.default_rng(0).standard_normal((1, 1, 8, 8, 8), dtype=np.float32)


@pytest.mark.rule("RUN-1")
def test_both_runtimes_compute_in_single_precision(files: dict[str, bytes]) -> None:
    first = predictor("onnxruntime-cpu", "model.onnx", files.__getitem__, 1)(WINDOW)
    second = predictor("openvino-cpu", "openvino/model.xml", files.__getitem__, 1)(WINDOW)

    # Unit roundoff: 6e-8 in single precision, 4e-3 in bfloat16; sums of 432 products of about 0.1.
    np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.rule("RUN-1")
@pytest.mark.rule("RUN-2")
def test_openvino_is_told_precision_and_threads(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, object]] = []
    compile_model = openvino.Core.compile_model

    def listen(core: openvino.Core, model: object, device: str, config: dict[str, object]):
        told.append(config)
        return compile_model(core, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", listen)
    predictor("openvino-cpu", "openvino/model.xml", files.__getitem__, 3)

    assert told == [
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 3, "NUM_STREAMS": 1}
    ]


@pytest.mark.rule("RUN-2")
@pytest.mark.parametrize("member", ["model.onnx", "openvino/model.xml"])
def test_an_answer_is_the_same_each_time_and_stays(files: dict[str, bytes], member: str) -> None:
    target = "onnxruntime-cpu" if member == "model.onnx" else "openvino-cpu"
    predict = predictor(target, member, files.__getitem__, 2)

    first = predict(WINDOW)
    kept = first.copy()
    predict(-WINDOW)

    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(predict(WINDOW), kept)


@pytest.mark.rule("RUN-3")
@pytest.mark.parametrize("target", ["onnxruntime-cpu", "openvino-cpu"])
def test_bytes_that_are_no_model_are_refused(target: str) -> None:
    with pytest.raises(Unreadable, match="cannot be opened"):
        predictor(target, "model.xml", lambda name: b"no model", 1)


def test_a_gpu_target_is_refused_on_the_cpu() -> None:
    with pytest.raises(WrongUse, match="needs an NVIDIA GPU"):
        predictor("tensorrt-rtx", "model.engine", lambda name: b"", 1)
