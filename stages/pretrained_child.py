"""The child of `pretrained_read.py`: a foreign file comes in, safetensors go out.

Standard input is the file, standard output gets the report (JSON), a third descriptor the tensors.
Before the first byte is looked at, files, processes, memory and time are given up (`boxed.py`).

Rules:

- WTS-10 Nothing of a file is understood before its bytes have the digest of its entry.
- WTS-11 What `torch.load(weights_only=True)` made must be what the scan found, name by name.
- WTS-12 The same file gives the same bytes: tensors sorted, laid out in full, without metadata.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from audit.errors import Refused
from stages.artifact import Digest
from stages.boxed import close_in, lock_down, more_seconds
from stages.pretrained_archive import Opened, open_container
from stages.pretrained_limits import Limits
from stages.pretrained_values import ITEM_BYTES, View, refused

if TYPE_CHECKING:
    import torch

_MEMORY: Final = 2**30
"""Bytes of data beside those of the file's copies."""
_COPIES: Final = 6
"""Copies of the file that stages of the conversion hold at most."""
_LONGEST: Final = 200
"""Characters of a tensor's name."""
_DTYPES: Final[Mapping[str, str]] = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
}


class Request(BaseModel):
    """What the parent asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Digest
    archive_key: str
    size: int
    """Bytes of the file."""
    tensors: int
    """Descriptor that the tensors are written into."""
    limits: Limits


def main() -> None:
    """Convert one file; the report says what came of it or what it was refused for."""
    request = Request.model_validate_json(sys.argv[1])
    warnings.simplefilter("ignore")
    _warm_up()
    close_in(memory=_MEMORY + _COPIES * request.size, written=request.limits.unpacked_bytes + 2**26)
    more_seconds(request.limits.seconds)
    lock_down()
    try:
        said = _convert(request)
    except Refused as error:
        said = {"refused": [error.what, error.remedy]}
    os.write(1, json.dumps(said).encode())


def _convert(request: Request) -> dict[str, Any]:
    data = sys.stdin.buffer.read(request.size + 1)
    if hashlib.sha256(data).hexdigest() != request.sha256:
        raise Refused(
            "The pre-trained file changed while it was read.", "Convert it again, from a still one."
        )
    opened = open_container(data, request.limits)
    del data
    tensors, left = _tensors(opened, request)
    _write(request.tensors, tensors)
    return {"kind": opened.kind, "left": left}


def _tensors(opened: Opened, request: Request) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Name → tensor, and the names of what is none."""
    import torch
    from safetensors.torch import load

    limits = request.limits
    if opened.value is None:
        try:
            found = load(opened.data)
        except Exception:  # noqa: BLE001 - its errors have no common base; all say: not whole
            raise refused("is no whole safetensors file") from None
        _bounded({name: (*_sizes(tensor),) for name, tensor in found.items()}, limits)
        return _finished(found), []
    chosen = _below(opened.value, request.archive_key)
    views = {name: value for name, value in chosen.items() if type(value) is View}
    _bounded(
        {
            name: (view.count, ITEM_BYTES[view.storage.kind], view.shape)
            for name, view in views.items()
        },
        limits,
    )
    try:
        loaded = torch.load(BytesIO(opened.data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - whatever it raises, it would not read the file
        raise refused("is none that PyTorch reads as weights") from None
    below = _below(loaded, request.archive_key)
    for name, view in views.items():
        _same(below.get(name), view)
    left = sorted(str(name)[:_LONGEST] for name in chosen.keys() - views.keys())
    return _finished({name: below[name].detach() for name in views}), left


def _below(value: Any, key: str) -> dict[Any, Any]:
    """The dictionary that the keys, joined by `.`, lead to."""
    for word in key.split(".") if key else ():
        value = value.get(word) if isinstance(value, dict) else None
    if isinstance(value, dict):
        return value
    raise Refused(
        "The pre-trained file has no dictionary under `archive_key`.",
        "Mend `archive_key` of its entry in `weights.sources`.",
    )


def _sizes(tensor: torch.Tensor) -> tuple[int, int, tuple[int, ...]]:
    return tensor.numel(), tensor.element_size(), tuple(tensor.shape)


def _bounded(sizes: Mapping[Any, tuple[int, int, tuple[int, ...]]], limits: Limits) -> None:
    """Hold names, number and sizes of the tensors against the limits."""
    if not sizes:
        raise Refused(
            "The pre-trained file has no tensor where its entry says.",
            "Set `archive_key` of its entry to the keys that lead to the tensors, `state_dict` for "
            "example.",
        )
    if len(sizes) > limits.tensors:
        raise refused(f"has more than {limits.tensors} tensors")
    if sum(count * size for count, size, _ in sizes.values()) > limits.unpacked_bytes:
        raise refused(f"has tensors of more than {limits.unpacked_bytes} bytes")
    for name, (_, _, shape) in sizes.items():
        plain = type(name) is str and name.isascii() and name.isprintable()
        if not plain or not 0 < len(name) <= _LONGEST or len(shape) > 16:
            raise refused("has a tensor whose name or shape is not plain")


def _same(tensor: Any, view: View) -> None:
    """WTS-11."""
    import torch

    same = (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype is getattr(torch, _DTYPES[view.storage.kind])
        and tuple(tensor.shape) == view.shape
        and tuple(tensor.stride()) == view.stride
        and tensor.storage_offset() == view.offset
    )
    if not same:
        raise refused("is read by PyTorch as something else than it says")


def _finished(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Laid out in full, each on its own, finite (WTS-12)."""
    import torch

    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise refused(f"has values in {name} that are not finite")
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in sorted(tensors.items())
    }


def _write(descriptor: int, tensors: Mapping[str, torch.Tensor]) -> None:
    from safetensors.torch import save

    data = memoryview(save(dict(tensors)))
    while data:
        data = data[os.write(descriptor, data) :]


def _warm_up() -> None:
    """Let the libraries import all that they import late."""
    import torch
    from safetensors.torch import load, save

    codecs.lookup("cp437")  # of names in ZIP archives
    torch.set_num_threads(1)
    for kind in _DTYPES.values():
        state = {"a": torch.zeros(2, 2, dtype=getattr(torch, kind))}
        for new in (True, False):
            file = BytesIO()
            torch.save(state, file, _use_new_zipfile_serialization=new)
            request = Request(sha256="0" * 64, archive_key="", size=1, tensors=1, limits=Limits())
            opened = open_container(file.getvalue(), request.limits)
            save(_tensors(opened, request)[0])
        load(save(state))


if __name__ == "__main__":
    main()
