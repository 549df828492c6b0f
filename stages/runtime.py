"""Runtimes: a model's file as a function from one window to its logits, on the CPU.

`optimize` measures these functions against the trained network and `infer` uses the same ones, so
that what was proven equivalent is what runs. No training framework is imported.

Rules:

- RUN-1  Every runtime computes in single precision: OpenVINO would choose a narrower type where
         the processor has one, and is told not to.
- RUN-2  Threads are given, never guessed from the machine.
- RUN-3  A model is opened from bytes that its caller has verified, never from a path that could
         have changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from audit.errors import Unreadable, WrongUse
from stages.bundle import Target
from stages.classify import Answer

Window = NDArray[np.float32]
Predict = Callable[[Window], Window]
"""(1, 1, slices, rows, columns) → logits (1, channels, slices, rows, columns), float32."""
Run = Callable[[Window], Mapping[str, Window]]
"""(1, 1, slices, rows, columns) → name of an output → its logits, float32."""

PRECISION = "f32"
INPUT, OUTPUT, CLASSES = "image", "logits", "class_logits"
"""Names of the model's input and outputs: logits on the grid, logits of classes (1, classes). A
model has those that its task asks."""


def predictor(target: Target, member: str, read: Callable[[str], bytes], threads: int) -> Predict:
    """Open a model with logits on the grid for a CPU target; arguments and errors as `answerer`."""
    answer = answerer(target, member, read, threads)

    def predict(window: Window) -> Window:
        grid, _ = answer(window)
        if grid is None:
            raise TypeError("the model answers with no logits on the grid")
        return grid

    return predict


def answerer(
    target: Target, member: str, read: Callable[[str], bytes], threads: int
) -> Callable[[Window], Answer]:
    """Open a model for a CPU target.

    Args:
        target: the runtime.
        member: the file that the runtime opens (an ONNX model; an OpenVINO `.xml`, whose weights
            are the `.bin` beside it).
        read: name of a file → its bytes.
        threads: of one inference.

    Raises:
        WrongUse: the target does not run on a CPU.
        Unreadable: the runtime refuses the model.
    """
    if target not in ("onnxruntime-cpu", "openvino-cpu"):
        raise WrongUse(
            f"The target {target} does not run here: it needs an NVIDIA GPU.",
            "Choose onnxruntime-cpu or openvino-cpu.",
        )
    try:
        if target == "onnxruntime-cpu":
            run = _onnxruntime(read(member), threads)
        else:
            weights = PurePosixPath(member).with_suffix(".bin").as_posix()
            run = _openvino(read(member), read(weights), threads)
    except (ImportError, KeyError):
        raise
    except Exception as error:
        raise Unreadable(
            f"The model for {target} cannot be opened ({type(error).__name__}).",
            "Fetch the release again, or run `optimize` again.",
        ) from error

    def answer(window: Window) -> Answer:
        found = run(window)
        return found.get(OUTPUT), found.get(CLASSES)

    return answer


def _onnxruntime(model: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(window: Window) -> Mapping[str, Window]:
        return dict(zip(names, session.run(names, {INPUT: window}), strict=True))

    return run


def _openvino(xml: bytes, weights: bytes, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model=xml, weights=weights),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": PRECISION,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        },
    )

    names = [output.get_any_name() for output in compiled.outputs]

    def run(window: Window) -> Mapping[str, Window]:
        found = compiled(window)
        return {name: found[name].copy() for name in names}

    return run
