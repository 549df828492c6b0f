"""Files of weights, good and hostile, written byte by byte where no library would write them."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import warnings
import zipfile
from typing import Any

from stages.pretrained_params import PretrainedSource

_MAGIC = 0x1950A86A20F9469CFC6C


def source_of(data: bytes, **changes: Any) -> PretrainedSource:
    """An entry for these bytes."""
    said: dict[str, Any] = {
        "uri": "weights/given.pt",
        "sha256": hashlib.sha256(data).hexdigest(),
        "title": "MobileNet v1 0.25",
        "supplier": "The makers",
        "origin": "https://example.org/weights",
        "version": "2020-04-01",
        "license": "MIT",
        "training_data": "ImageNet-1k",
        "architecture": "MobileNetV1, width 0.25",
        "requirements": ("Features that help on small sets of images.",),
        "preprocessing": {"dims": 2, "channels": 3, "normalization": "none"},
    }
    return PretrainedSource.model_validate(said | changes)


def saved(value: Any, *, legacy: bool = False) -> bytes:
    """What `torch.save` writes."""
    import torch

    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def torch_zip(pickled: bytes, *more: tuple[str, bytes], compressed: bool = False) -> bytes:
    """A torch archive around a pickle, with more members."""
    file = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", kind) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in (("m/data.pkl", pickled), ("m/version", b"3\n"), *more):
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return file.getvalue()


def torch_legacy(main: bytes, *, tail: bytes = b"", **records: bytes) -> bytes:
    """The five pickles of the legacy format around a main one; any can be given."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    plain = {
        "magic": pickle.dumps(_MAGIC, 2),
        "version": pickle.dumps(1001, 2),
        "system": pickle.dumps(system, 2),
        "main": main,
        "keys": pickle.dumps([], 2),
    }
    return b"".join({**plain, **records}.values()) + tail


def zipped(*members: tuple[str, bytes]) -> bytes:
    """A deflated archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def pickled(body: bytes) -> bytes:
    """Protocol 2 around opcodes."""
    return b"\x80\x02" + body + b"."


class _Reduced:
    """An object that unpickles by a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def gadgets(canary: str) -> dict[str, bytes]:
    """Pickles that make a file when they are unpickled: name → bytes."""
    import numpy as np

    command, code = f"touch {canary}", f"open({canary!r}, 'w').close()"
    told = text(command)
    system = b"cos\nsystem\n"
    call = b"(" + told + b"tR"
    hidden = pickle.dumps(np.array([_Reduced(os.system, command)], dtype=object), 2)
    return {
        "os.system by REDUCE": pickle.dumps(_Reduced(os.system, command), 2),
        "builtins.eval": pickle.dumps(_Reduced(eval, code), 2),
        "builtins.exec": pickle.dumps(_Reduced(exec, code), 2),
        "STACK_GLOBAL": pickle.dumps(_Reduced(os.system, command), 4),
        "STACK_GLOBAL of split names": b"\x80\x04"
        + text("os")
        + text("system")
        + b"\x93"
        + call
        + b".",
        "INST": b"(" + told + b"ios\nsystem\n.",
        "OBJ": b"(" + system + told + b"o.",
        "NEWOBJ": b"\x80\x02cbuiltins\nlist\n(cbuiltins\nmap\n("
        + system
        + b"("
        + told
        + b"lt\x81tR.",
        "BUILD of __setstate__": pickled(
            b"cargparse\nNamespace\n)\x81}" + text("__setstate__") + system + b"sb" + told + b"b"
        ),
        "memo": pickled(
            system + b"q\x000ccollections\nOrderedDict\n)Rq\x010h\x00" + call + b"0h\x01"
        ),
        "getattr": pickled(
            b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n("
            + text("os")
            + b"tR"
            + text("system")
            + b"tR"
            + call
        ),
        "dotted GLOBAL": b"\x80\x04cshutil\nos.system\n" + call + b".",
        "ndarray of objects": hidden,
        "in a dictionary beside tensors": pickle.dumps(
            {"state_dict": {}, "epoch": _Reduced(os.system, command)}, 2
        ),
        "dropped from the stack": pickled(system + call + b"0}"),
    }
