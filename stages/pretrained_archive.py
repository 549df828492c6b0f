"""Containers of pre-trained tensors: which one a file is, and what in it is read.

Rules:

- WTS-6  A container is read only if it is whole and plain: every byte accounted for, no member
         twice, no name that climbs, nothing compressed in a torch archive, no code, sizes as told.
         What reads it next is given an archive made anew of what was scanned, so that two readers
         cannot understand one file in two ways.

Sources: `torch/serialization.py` (2.13), functions `_save` and `_legacy_save`; safetensors format,
8 bytes of header length, then JSON; MONAI Bundle Specification, `models/model.pt`.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, Final

from stages.pretrained_limits import Limits
from stages.pretrained_scan import Scanned, scan
from stages.pretrained_values import Storage, refused

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001
_KEY: Final = re.compile(r"[0-9]{1,10}")
_BUNDLED: Final = ("models/model.safetensors", "models/model.pt")
"""The members of a bundle that hold its weights, the better one first."""


@dataclass(frozen=True)
class Opened:
    """A container that was found whole."""

    kind: str
    """`safetensors`, `torch zip` or `torch legacy`; with ` in bundle`, the member of one."""
    data: bytes
    """What to read the tensors from."""
    value: Any
    """What the scan found, for a torch archive; None for safetensors."""


def open_container(data: bytes, limits: Limits) -> Opened:
    """Find out what a file is, and check it.

    Raises:
        Refused: WTS-4 to WTS-6, or it is none of the containers.
    """
    if data[:4] == b"PK\x03\x04":
        members = _members(data, limits)
        if any(name.endswith("configs/metadata.json") for name in members):
            return _bundle(data, members, limits)
        return _torch_zip(data, members, limits)
    return _single(data, limits)


def _single(data: bytes, limits: Limits) -> Opened:
    if data[:1] == b"\x80":
        return _legacy(data, limits)
    if data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] <= len(data) - 8:
        return Opened("safetensors", data, None)
    raise refused("is neither safetensors nor a torch archive")


def _members(data: bytes, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """Name → member of a plain archive; folders are left out."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            rows = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        raise refused("is a broken ZIP archive") from None
    if len(rows) > limits.members:
        raise refused(f"has more than {limits.members} members")
    found: dict[str, zipfile.ZipInfo] = {}
    for row in rows:
        # `orig_filename`: `filename` ends where a NUL stands.
        name, pure = row.orig_filename, PurePosixPath(row.orig_filename)
        if name in found or row.filename != name or "\\" in name or ":" in name:
            raise refused("has members whose names are not plain")
        if pure.is_absolute() or ".." in pure.parts or not name.isascii() or not name.isprintable():
            raise refused("has members whose names are not plain")
        if row.flag_bits & 1:
            raise refused("has encrypted members")
        found[name] = row
    if sum(row.compress_size for row in rows) > len(data):
        raise refused("has members that overlap")
    return {name: row for name, row in found.items() if not row.is_dir()}


def _bundle(data: bytes, members: Mapping[str, zipfile.ZipInfo], limits: Limits) -> Opened:
    """Only the member with the weights is unpacked; what it is in turn is no bundle."""
    held = [name for tail in _BUNDLED for name in members if _is_at(name, tail)]
    if not held:
        raise refused("is a bundle without `models/model.pt` and `models/model.safetensors`")
    row = members[held[0]]
    if row.file_size > min(limits.unpacked_bytes, limits.ratio * max(row.compress_size, 1)):
        raise refused("has a member that unpacks to more than the limit")
    inner = _read(data, row)
    if inner[:4] == b"PK\x03\x04":
        opened = _torch_zip(inner, _members(inner, limits), limits)
    else:
        opened = _single(inner, limits)
    return Opened(f"{opened.kind} in bundle", opened.data, opened.value)


def _is_at(name: str, tail: str) -> bool:
    """Whether a member lies at the bundle's root or in its one folder."""
    return name == tail or (name.endswith(f"/{tail}") and name.count("/") == tail.count("/") + 1)


def _read(data: bytes, row: zipfile.ZipInfo) -> bytes:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive, archive.open(row) as file:
            value = file.read(row.file_size + 1)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        raise refused("has a broken member") from None
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise refused("has a broken member") from None
        raise
    if len(value) != row.file_size:
        raise refused("has a member of another size than told")
    return value


def _torch_zip(data: bytes, members: Mapping[str, zipfile.ZipInfo], limits: Limits) -> Opened:
    roots = {name.partition("/")[0] for name in members}
    root = roots.pop() if len(roots) == 1 else ""
    if f"{root}/data.pkl" not in members:
        raise refused("is a ZIP archive, but none of torch")
    inside = {name.removeprefix(f"{root}/"): row for name, row in members.items()}
    if any(name == "constants.pkl" or name.startswith("code/") for name in inside):
        raise refused("is a TorchScript archive: it holds code")
    if any(row.compress_type != zipfile.ZIP_STORED for row in inside.values()):
        raise refused("has compressed members, which torch does not write")
    if "byteorder" in inside and _read(data, inside["byteorder"]) != b"little":
        raise refused("was written on a big-endian machine")
    if inside["data.pkl"].file_size > limits.pickle_bytes:
        raise refused("has a pickle that is larger than the limit")
    pickled = _read(data, inside["data.pkl"])
    scanned = scan(pickled, 0, limits)
    if scanned.end != len(pickled):
        raise refused("has bytes after its pickle")
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for key, storage in scanned.storages.items():
            row = inside.get(f"data/{key}")
            if not _KEY.fullmatch(key) or row is None or row.file_size != storage.nbytes:
                raise refused("lacks a storage, or has one of another size than told")
            archive.writestr(f"archive/data/{key}", _read(data, row))
    return Opened("torch zip", made.getvalue(), scanned.value)


def _legacy(data: bytes, limits: Limits) -> Opened:
    """Five pickles (magic, version, system, value, keys), then every storage in the keys' order."""
    place, pickles = 0, []
    for _ in range(5):
        found = scan(data, place, limits)
        if found.end - place > limits.pickle_bytes:
            raise refused("has a pickle that is larger than the limit")
        pickles.append(found)
        place = found.end
    magic, version, system, main, keys = pickles
    if magic.value != _MAGIC or version.value != _VERSION:
        raise refused("is a pickle, but none of torch")
    if type(system.value) is not dict or system.value.get("little_endian") is not True:
        raise refused("was written on a big-endian machine")
    if any(part.storages for part in (magic, version, system, keys)):
        raise refused("has storages outside its state")
    for storage in _in_order(keys, main.storages):
        if data[place : place + 8] != struct.pack("<Q", storage.count):
            raise refused("lacks a storage, or has one of another size than told")
        place += 8 + storage.nbytes
    if place != len(data):
        raise refused("has another length than its storages need")
    return Opened("torch legacy", data, main.value)


def _in_order(keys: Scanned, storages: Mapping[str, Storage]) -> list[Storage]:
    if type(keys.value) is not list or any(type(key) is not str for key in keys.value):
        raise refused("has no list of its storages")
    if sorted(keys.value) != sorted(storages):
        raise refused("lists other storages than it uses")
    return [storages[key] for key in keys.value]
