"""The network: from its section of the parameters to a module, and its weights to a file.

Imports torch: import this module inside `run` or `merge` only.

Rules:

- NET-1  Every network takes one channel and three axes (slices, rows, columns), and answers with
         one channel a class on the same grid; anything else is refused before training.
- NET-2  Weights are safetensors: the same weights give the same bytes, and nothing is unpickled.
- NET-3  Weights are taken whole or not at all: a missing, surplus or misshapen tensor is refused.
- NET-4  Within `pinned`, the same calls give the same bits on the same class of machine.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as to_bytes

from audit.errors import Unreadable, WrongUse
from stages.params import Network, Numerics

_REMEDY = "Correct `network` in params.yaml."


@contextmanager
def pinned(numerics: Numerics) -> Iterator[None]:
    """Pin threads, algorithms and torch's seed, and give all of them back after (NET-4).

    The instruction set is fixed by the process's environment, before torch is imported.
    """
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(numerics.threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(numerics.seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(mode=strict)


def build(network: Network, channels_out: int) -> torch.nn.Module:
    """Make the network, its weights drawn from torch's current seed.

    Args:
        network: dotted class and its arguments.
        channels_out: classes, the background included; an argument of the class.

    Returns:
        A module from (batch, 1, slices, rows, columns) to (batch, channels_out, the same); in
        memory its channels lie last, which doubles oneDNN's speed.

    Raises:
        WrongUse: the class is not there, is no module, or refuses its arguments.
    """
    arguments: dict[str, Any] = dict(network.arguments)
    made = _resolve(network.target)
    try:
        module = made(spatial_dims=3, in_channels=1, out_channels=channels_out, **arguments)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise WrongUse(f"{network.target} refuses its arguments: {error}.", _REMEDY) from error
    module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # stub lacks it
    return module


def check_takes(module: torch.nn.Module, patch: tuple[int, int, int], channels_out: int) -> None:
    """Refuse a network that cannot take the patch (NET-1).

    Raises:
        WrongUse: the forward pass fails, or its output is not (1, channels_out, *patch).
    """
    mode = module.training
    module.eval()
    try:
        with torch.no_grad():
            answer = module(torch.zeros((1, 1, *patch)))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise WrongUse(
            f"The network cannot take a patch of {patch} voxels: {error}.",
            "Choose another `volume.patch` or fewer levels in `network`.",
        ) from error
    finally:
        module.train(mode)
    shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else None
    if shape != (1, channels_out, *patch):
        raise WrongUse(
            f"The network answers a patch of {patch} voxels with {shape}, "
            f"not with {(1, channels_out, *patch)}.",
            _REMEDY,
        )


def save(module: torch.nn.Module, path: Path) -> None:
    """Write the weights, parents made (NET-2)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(_weights(module)))


def load(module: torch.nn.Module, path: Path) -> None:
    """Read weights into a network of the same shape (NET-2, NET-3).

    Raises:
        Unreadable: the file is not safetensors, or its tensors are not this network's.
    """
    try:
        weights = load_bytes(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise Unreadable(
            "A file of weights is not readable safetensors.", "Train or fetch the model again."
        ) from error
    own = module.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | weights.keys()
        if name not in own or name not in weights or own[name].shape != weights[name].shape
    )
    if wrong:
        raise Unreadable(
            f"{len(wrong)} tensors of a file of weights do not fit the network, first {wrong[0]}.",
            "Use the `network` section that the weights were trained with.",
        )
    module.load_state_dict(weights)


def parameters_count(module: torch.nn.Module, *, trained_only: bool = False) -> int:
    """Number of the network's parameters, or of those that training may change."""
    return sum(
        parameter.numel()
        for parameter in module.parameters()
        if parameter.requires_grad or not trained_only
    )


def weights_sha256(module: torch.nn.Module) -> str:
    """SHA-256 of the file that `save` would write."""
    return hashlib.sha256(to_bytes(_weights(module))).hexdigest()


def predictor(module: torch.nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The network as the function that `stages.volume.sliding_window` takes.

    Returns:
        (1, 1, *patch) → logits (1, channels, *patch), as `stages.runtime` gives them.
    """

    def predict(window: NDArray[np.float32]) -> NDArray[np.float32]:
        module.eval()
        with torch.inference_mode():
            images = torch.from_numpy(window).contiguous(memory_format=torch.channels_last_3d)
            logits: NDArray[np.float32] = module(images).numpy()
        return logits

    return predict


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }


def _resolve(target: str) -> type[torch.nn.Module]:
    folder, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(folder), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise WrongUse(f"There is no class {target}.", _REMEDY) from error
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise WrongUse(f"{target} is not a torch module.", _REMEDY)
    return found
