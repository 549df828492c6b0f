"""What a pickle of weights may make, and how: tensors described, and the calls that make them.

Nothing here holds a number of a tensor: a `View` says where its numbers lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from audit.errors import Refused

ITEM_BYTES: Final[Mapping[str, int]] = {
    "BFloat16Storage": 2,
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "IntStorage": 4,
    "LongStorage": 8,
    "ShortStorage": 2,
}
"""Storages that weights are kept in → bytes of an element."""

_ORDERED = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_SIZE = "torch Size"
_DTYPES = frozenset(
    f"torch {name}"
    for name in (
        *("float16", "float32", "float64", "bfloat16", "bool"),
        *("uint8", "int8", "int16", "int32", "int64"),
    )
)
GLOBALS = frozenset(
    {_ORDERED, _TENSOR, _PARAMETER, _SIZE, *_DTYPES, *(f"torch {name}" for name in ITEM_BYTES)}
)


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for, as `module name`."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Elements that lie outside the pickle."""

    kind: str
    key: str
    count: int
    """Elements."""

    @property
    def nbytes(self) -> int:
        return self.count * ITEM_BYTES[self.kind]


@dataclass(frozen=True)
class View:
    """A tensor: a view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        return prod(self.shape)


def refused(what: str) -> Refused:
    """A file of weights that is refused for what stands in it."""
    return Refused(
        f"The pre-trained file {what}.",
        "Take it as safetensors, or save nothing but the state dictionary, with a present PyTorch.",
    )


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> View:
    grad, hooks, metadata = rest if len(rest) == 3 else (*rest, None)
    numbers = (offset, *shape, *stride)
    if (
        type(storage) is not Storage
        or type(shape) is not tuple
        or type(stride) is not tuple
        or any(type(number) is not int or not 0 <= number < 2**62 for number in numbers)
        or len(shape) != len(stride)
        or type(grad) is not bool
        or hooks not in (None, {})
        or metadata not in (None, {})
    ):
        raise refused("describes a tensor in a way that weights do not need")
    view = View(storage, offset, shape, stride)
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if view.count and last >= storage.count:
        raise refused("has a tensor that reaches beyond its storage")
    return view


def _rebuild_parameter(view: Any, grad: Any, hooks: Any) -> View:
    if type(view) is not View or type(grad) is not bool or hooks not in (None, {}):
        raise refused("describes a parameter in a way that weights do not need")
    return view


def _ordered() -> dict[str, Any]:
    return {}


def _size(sides: Any) -> tuple[int, ...]:
    if type(sides) is not tuple or any(type(side) is not int for side in sides):
        raise TypeError
    return sides


CALLS: Final[Mapping[str, Callable[..., Any]]] = {
    _ORDERED: _ordered,
    _TENSOR: _rebuild_tensor,
    _PARAMETER: _rebuild_parameter,
    _SIZE: _size,
}
