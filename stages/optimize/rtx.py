"""TensorRT for RTX: an engine from an ONNX model, built on the CPU.

The builder needs no GPU when it is told the compute capabilities to build for; the engine runs on
those GPUs only, after the runtime there has compiled its kernels. Tensor cores' TF32, the default,
is switched off: it has ten bits of mantissa, single precision has 23.
"""

from __future__ import annotations

from collections.abc import Sequence

from audit.errors import Fault


class NotBuilt(Fault):
    """The engine could not be built here; `what` says why."""


def engine(model: bytes, capabilities: Sequence[str]) -> bytes:
    """Build an engine in single precision.

    Args:
        model: an ONNX model.
        capabilities: names such as "SM89".

    Raises:
        NotBuilt: the package is absent, or the builder refuses the model.
    """
    try:
        import tensorrt_rtx_bindings as trt
    except ImportError as error:
        raise NotBuilt(
            "the package TensorRT for RTX is not installed",
            "Install Kette with its extra `tensorrt-rtx`.",
        ) from error

    class _Errors(trt.ILogger):  # type: ignore[misc]  # the library ships no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.first = ""

        def log(self, severity: trt.ILogger.Severity, text: str) -> None:
            if severity == trt.ILogger.Severity.ERROR and not self.first:
                self.first = text

    errors = _Errors()
    builder = trt.Builder(errors)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, errors)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.num_compute_capabilities = len(capabilities)
    for index, name in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    built = builder.build_serialized_network(network, config) if parser.parse(model) else None
    if built is None:
        raise NotBuilt(
            f"the builder refuses the network: {errors.first or 'without a reason'}",
            "Choose other `optimize.compute_capabilities`, or drop the target.",
        )
    return bytes(built)
