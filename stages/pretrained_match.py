"""Which tensors of a source a network takes: a decision on names and shapes alone.

Rules:

- WTS-7  Every tensor of the source is taken, skipped or mismatched, and every tensor of the network
         that takes none is missing; the record names them all.
- WTS-8  A tensor is changed to fit only as its entry declares, and the record says how.

Axes of a convolution's kernel: (output channels, input channels, slices, rows, columns), without
slices in 2-D. Inflating repeats a 2-D kernel along the slices and divides by their number, so that
a stack of equal slices gets the answer of one slice. Source: Carreira and Zisserman, *Quo vadis,
action recognition?* (CVPR 2017). Summing a kernel over its input channels gives a gray image the
answer that the same image repeated in every channel got.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from audit.errors import Refused
from stages.pretrained_params import PretrainedSource

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
INFLATED = "inflated"
SUMMED = "channels summed"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Taken(_Frozen):
    """One tensor of the network that comes from the source."""

    target: str
    source: str
    changes: tuple[str, ...] = ()
    """What was done to make it fit: `channels summed`, `inflated`; in this order."""


class Mismatched(_Frozen):
    """A tensor of the source whose name fits and whose shape does not."""

    target: str
    source: str
    target_shape: Shape
    source_shape: Shape


class Match(_Frozen):
    """What comes of a source in a network, for the record."""

    taken: tuple[Taken, ...]
    """Sorted by `target`, as are the others."""
    skipped: tuple[str, ...]
    """Names of the source that the network has no use for."""
    mismatched: tuple[Mismatched, ...]
    missing: tuple[str, ...]
    """Names of the network that take nothing from the source: they stay new."""


def match(target: Shapes, found: Shapes, source: PretrainedSource) -> Match:
    """Decide, for each tensor, what comes of it.

    Args:
        target: name → shape of the network's state.
        found: name → shape of the source's tensors, as they are called there.
        source: the entry: prefix, mapping, and which changes it declares.

    Raises:
        Refused: two tensors of the source get one name.
    """
    names: dict[str, str] = {}
    for old in sorted(found):
        new = rename(old, source)
        if new is None or new not in target:
            continue
        if new in names:
            raise Refused(
                f"Two tensors of the pre-trained source are both named {new} in the network.",
                "Mend `prefix` and `mapping` of its entry in `weights.sources`.",
            )
        names[new] = old
    taken, mismatched = [], []
    for new, old in sorted(names.items()):
        changes = _changes(target[new], found[old], source)
        if changes is None:
            mismatched.append(
                Mismatched(
                    target=new, source=old, target_shape=target[new], source_shape=found[old]
                )
            )
        else:
            taken.append(Taken(target=new, source=old, changes=changes))
    return Match(
        taken=tuple(taken),
        skipped=tuple(sorted(found.keys() - names.values())),
        mismatched=tuple(mismatched),
        missing=tuple(sorted(target.keys() - {row.target for row in taken})),
    )


def rename(name: str, source: PretrainedSource) -> str | None:
    """The name that a tensor of the source gets in the network; None: it is left out."""
    if not name.startswith(source.prefix):
        return None
    bare = name.removeprefix(source.prefix)
    fitting = [pattern for pattern in source.mapping if _middle(bare, pattern) is not None]
    if not fitting:
        return bare
    # Of two equally long ones the order of their letters decides, not that of the file.
    pattern = max(fitting, key=lambda text: (len(text), text))
    new = source.mapping[pattern]
    return None if new is None else new.replace("*", _middle(bare, pattern) or "")


def fitted(
    matched: Match, tensors: Mapping[str, torch.Tensor], target: Shapes
) -> dict[str, torch.Tensor]:
    """The taken tensors under the network's names, changed as the match says.

    Args:
        matched: of `match`, of the same source and target.
        tensors: of the source, by their names there.
        target: name → shape of the network's state.
    """
    return {row.target: _fit(tensors[row.source], row, target[row.target]) for row in matched.taken}


def _fit(tensor: torch.Tensor, row: Taken, shape: Shape) -> torch.Tensor:
    if SUMMED in row.changes:
        tensor = tensor.sum(dim=1, keepdim=True)
    if INFLATED in row.changes:
        tensor = (tensor.unsqueeze(2) / shape[2]).expand(shape).contiguous()
    return tensor


def _middle(name: str, pattern: str) -> str | None:
    """What `*` stands for, empty for a pattern without one; None: the pattern does not fit."""
    head, star, tail = pattern.partition("*")
    if not star:
        return "" if name == pattern else None
    fits = name.startswith(head) and name.endswith(tail) and len(name) >= len(head) + len(tail)
    return name[len(head) : len(name) - len(tail)] if fits else None


def _changes(target: Shape, found: Shape, source: PretrainedSource) -> tuple[str, ...] | None:
    """The declared changes that turn one shape into another; None: there are none such."""
    changes = []
    channels = source.preprocessing.channels
    if (
        source.adapt_channels
        and len(found) > 2
        and len(target) > 2
        and (found[1], target[1]) == (channels, 1)
        and channels > 1
    ):
        changes.append(SUMMED)
        found = (found[0], 1, *found[2:])
    if source.inflate and len(found) == 4 and len(target) == 5:
        changes.append(INFLATED)
        found = (*found[:2], target[2], *found[2:])
    return tuple(changes) if found == target else None
