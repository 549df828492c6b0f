"""How much memory training a network takes, before it is trained.

Imports torch: import this module inside functions only.

A forward pass with the loss runs on torch's meta device, which computes shapes and no values; what
autograd keeps for the backward pass is counted tensor by tensor. What cannot be counted there is
calibrated against measured training processes: see the constants, and the test that measures.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from monai.losses.dice import DiceCELoss

from audit.errors import WrongUse
from stages.network_defaults import arguments

MIB = 2**20
PROCESS_MIB = 600
"""Of a process that has imported torch and MONAI and has run its first kernels (CPU)."""
COPIES = 5
"""Of the weights: themselves, gradients, AdamW's two moments, and what its step takes meanwhile."""
PASSING = 4
"""Tensors as large as the largest that live during the backward pass only."""


def training_mib(
    target: str,
    given: Mapping[str, Any],
    *,
    channels_out: int,
    patch: tuple[int, int, int],
    batch: int,
    spacing_mm: tuple[float, float, float] | None = None,
) -> int:
    """Peak memory of a training process, MiB.

    Args:
        target: dotted class of the network.
        given: its arguments in the parameters.
        channels_out: background included; or classes.
        patch: (slices, rows, columns); one slice means a network of two dimensions.
        batch: patches a step.
        spacing_mm: of the patch.

    Raises:
        WrongUse: the class is not there, or cannot take the patch.
    """
    dims = 2 if patch[0] == 1 else 3
    folder, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(folder), name)
        with torch.device("meta"):
            found = arguments(
                target,
                cls,
                dims=dims,
                channels_out=channels_out,
                patch=patch,
                given=given,
                spacing_mm=spacing_mm,
            )
            module = cls(**found).train()
        images = torch.zeros((batch, 1, *patch[-dims:]), device="meta")
        held, largest = _kept(module, images)
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError, AssertionError) as e:
        raise WrongUse(
            f"{target} cannot be planned for a patch of {patch} voxels: {e}.",
            "Correct `network` in params.yaml.",
        ) from e
    weights: int = sum(one.numel() * one.element_size() for one in module.parameters())
    return PROCESS_MIB + (COPIES * weights + held + PASSING * largest) // MIB


def _kept(module: torch.nn.Module, images: torch.Tensor) -> tuple[int, int]:
    """Bytes that autograd keeps from the forward pass to the backward pass; the largest tensor."""
    # Meta tensors have no addresses: storages are told apart as objects, and kept alive for that.
    kept: dict[int, torch.UntypedStorage] = {}
    weights = [one.untyped_storage() for one in module.parameters()]
    own = {id(storage) for storage in weights}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in own:
            kept.setdefault(id(storage), storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        answer = module(images)
        answer = answer[0] if isinstance(answer, tuple | list) else answer
        if answer.ndim == 2:  # classes
            loss = torch.nn.functional.cross_entropy(answer, torch.zeros_like(answer[:, 0]).long())
        else:
            loss = DiceCELoss(to_onehot_y=True, softmax=True)(answer, torch.zeros_like(images))
    sizes = [storage.nbytes() for storage in kept.values()]
    del loss
    return sum(sizes), max(sizes)
