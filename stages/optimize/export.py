"""The trained network as ONNX, and the ONNX model as OpenVINO's IR: bytes without a past.

Exporters write where they ran into what they write: PyTorch's puts source paths, stack traces and
names of Python objects into the model's metadata. None of it computes anything, so none is kept.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import openvino
import torch
from google.protobuf.message import Message

from audit.errors import WrongUse
from stages.network import parted
from stages.runtime import CLASSES, INPUT, OUTPUT

OPSET = 20
"""Version of ONNX's operators: the newest that all three runtimes here implement."""
_PAST = ("metadata_props", "doc_string")


def onnx_model(network: torch.nn.Module, patch: tuple[int, int, int]) -> bytes:
    """Export a network for one window at a time.

    Args:
        network: takes (batch, 1, slices, rows, columns), answers with logits on the same grid, of
            classes, or both.
        patch: (slices, rows, columns), fixed in the model; so is the batch of 1.

    Returns:
        One file's bytes, weights within; checked by ONNX's own checker, shapes inferred.

    Raises:
        WrongUse: the network has an operation that ONNX cannot say.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it lists libraries that nobody asked for
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                network.eval(),
                (torch.zeros((1, 1, *patch)),),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=_outputs(network, patch),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise WrongUse(
            f"The network cannot be exported as ONNX ({type(error).__name__}).",
            "Choose another `network`, or write its unusual operation in PyTorch's own.",
        ) from error
    finally:
        logger.setLevel(level)
    if program is None:  # only without `dynamo`
        raise TypeError("the exporter answered without a model")
    model = program.model_proto
    _forget(model)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _outputs(network: torch.nn.Module, patch: tuple[int, int, int]) -> list[str]:
    """Names of the outputs, in the order in which the network answers."""
    with torch.inference_mode():
        found = parted(network.eval()(torch.zeros((1, 1, *patch))))
    return [name for name, one in zip((OUTPUT, CLASSES), found, strict=True) if one is not None]


def openvino_ir(model: bytes, folder: Path) -> None:
    """Write `model.xml` and `model.bin`, in single precision, from an ONNX model's bytes.

    Operations that ONNX does not name get their place in the graph as a name: OpenVINO counts them
    through the life of the process.
    """
    folder.mkdir(parents=True)
    graph = openvino.Core().read_model(model=model)
    for place, operation in enumerate(graph.get_ordered_ops()):
        if operation.get_friendly_name() == operation.get_name():
            operation.set_friendly_name(f"{operation.get_type_name()}.{place}")
    openvino.save_model(graph, folder / "model.xml", compress_to_fp16=False)


def _forget(message: Message) -> None:
    """Clear what the exporter noted about itself, in every part of the model."""
    for field, value in message.ListFields():
        if field.name in _PAST:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                _forget(part)
