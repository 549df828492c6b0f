"""The network: from its section of the parameters to a module, and its weights to a file.

Imports torch: import this module inside `run` or `merge` only.

Rules:

- NET-1  Every network takes (batch, 1, slices, rows, columns). For a task of structures it answers
         with logits of one channel a structure and the background on the same grid; for one of
         classes with logits (batch, classes); for both with both. Anything else is refused before
         training. A network of two dimensions sees patches of one slice.
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

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as to_bytes

from audit.errors import Unreadable, WrongUse
from stages import network_defaults
from stages.channels import channels_count
from stages.classify import Answer
from stages.params import Network, Numerics, Task, Volume
from stages.wrapped import Shared, adapted

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


def build(network: Network, task: Task, volume: Volume) -> torch.nn.Module:
    """Make the network of a task, its weights drawn from torch's current seed (NET-1).

    Raises:
        WrongUse: the class is not there, is no module, or refuses its arguments or the patch.
    """
    channels = channels_count(task) if task.structures else 0
    return assemble(network, volume, channels=channels, classes=len(task.classes))


def assemble(
    network: Network, volume: Volume, *, channels: int, classes: int = 0
) -> torch.nn.Module:
    """Make a network of so many channels on the grid, so many classes, or both.

    Returns:
        In memory its channels lie last, which doubles oneDNN's speed.

    Raises:
        WrongUse: as `build`.
    """
    made = _resolve(network.target)
    arguments = network_defaults.arguments(
        network.target,
        made,
        dims=2 if volume.planar else 3,
        channels_out=channels or classes,
        patch=volume.patch[1:] if volume.planar else volume.patch,
        given=network.arguments,
        spacing_mm=_spacing(volume),
    )
    try:
        module = made(**arguments)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise WrongUse(f"{network.target} refuses its arguments: {error}.", _REMEDY) from error
    last = torch.channels_last if volume.planar else torch.channels_last_3d
    module.to(memory_format=last)  # type: ignore[call-overload]  # stub lacks it
    module = adapted(module, volume)
    check_takes(module, volume.patch, channels, 0 if channels else classes)
    if channels and classes:
        module = Shared(module, volume.patch, classes)
    return module


def _spacing(volume: Volume) -> tuple[float, ...] | None:
    spacing = volume.spacing_mm
    return spacing[1:] if spacing is not None and volume.planar else spacing


def check_takes(
    module: torch.nn.Module, patch: tuple[int, int, int], channels: int, classes: int
) -> None:
    """Refuse a network that cannot take the patch, or answers with another shape (NET-1).

    Raises:
        WrongUse: the forward pass fails, or its output is not (1, channels, *patch) or, without
            channels, (1, classes).
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
    wanted = (1, channels, *patch) if channels else (1, classes)
    if shape != wanted:
        raise WrongUse(
            f"The network answers a patch of {patch} voxels with {shape}, not with {wanted}.",
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


def answerer(module: torch.nn.Module) -> Callable[[NDArray[np.float32]], Answer]:
    """The network as a function of arrays: (batch, 1, *patch) → both kinds of logits."""
    device = next(module.parameters()).device

    def answer(window: NDArray[np.float32]) -> Answer:
        module.eval()
        with torch.inference_mode():
            images = torch.from_numpy(window).to(device)
            grid, classes = parted(module(images.contiguous(memory_format=torch.channels_last_3d)))
        return (
            None if grid is None else grid.float().cpu().numpy(),
            None if classes is None else classes.float().cpu().numpy(),
        )

    return answer


def predictor(module: torch.nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The network as the function that `stages.windows` takes.

    Returns:
        (1, 1, *patch) → logits (1, channels, *patch), as `stages.runtime` gives them.
    """
    answer = answerer(module)

    def predict(window: NDArray[np.float32]) -> NDArray[np.float32]:
        grid, _ = answer(window)
        assert grid is not None  # noqa: S101 - asked of tasks with structures alone
        return grid

    return predict


def parted(
    answer: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A network's answer as logits on the grid and logits of classes (NET-1)."""
    if isinstance(answer, tuple):
        return answer
    return (answer, None) if answer.ndim > 2 else (None, answer)


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
