"""Hostile and odd inputs, made by code alone: each a file (or a thing that is none) with its name.

`corpus()` gives at least 150 of them, the same ones each time. What each is, its name says; what
becomes of it is the business of `test_ingest_hostile.py`.
"""

from __future__ import annotations

import base64
import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pydicom.encaps
from helpers_ingest import ROOT, change, ct, encoded
from pydicom.dataset import Dataset
from pydicom.uid import AllTransferSyntaxes, ExplicitVRBigEndian, ExplicitVRLittleEndian

SPINNING = base64.b64decode(
    b"/9j/9wALEAAQABABAREA//gADQH//wASAEMBFABA/9oACAEBAAAAAF/0A0A0Af9/+/7/Z/v/L/PuP7/2/r/S"
    b"AAEQEBEAkAP/P+f6/w/t/T+X8P3fs/UgIAAEJPzfk/F+D733PtfY+t9T6X0PnfMQCAACA3yPjfE+F8D33vPd"
    b"e49t7T2XsPXIAAAD9HqvUem9J6L0HnvOea8x5bynkvIf+AAHyvGeK8R4bwngvAd+753rvHdu6dy/4AAPWdu7"
    b"Z2rtHZuydi7B17rnWusdW6p/oAAeO6h07pnSukdG6J0LoHPuec65xzb/AAAVwgBAEAQCAQCAQEBAQEBAQEAA"
    b"AAiBzLmHLuWcq5RybknIuQce45xrjH9gAB1LinEuIcO4ZwrhHBuDcG4Nwbg3Bv6AADoXBuDcG4Nwbg3BuDcG"
    b"4Nwbg3BuDfyAAHQuDcG4NwbgDQAgAAAAAAA3BuDcG/gAAOhcG4Nwbg3BuDcG4Nwbg3BuDcG4N+4AAdC4Nwbg"
    b"3BuDcG4Nwbg3BuDcG4Nwb9gAA6FYNwbg3BuDcG4Nwbg3BuDcG4Nwb9QA2QA="
)
"""A JPEG-LS of 16 by 16 that a decoder spins on for seconds (found by the fuzzer)."""
UNDEFINED = 0xFFFFFFFF
PIXELS = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 32)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)


@dataclass(frozen=True)
class Hostile:
    """One input."""

    name: str
    write: Callable[[Path], None]
    """Writes it to a path."""
    heavy: bool = False
    """Takes seconds or much memory to make."""


def corpus() -> Iterator[Hostile]:
    """All inputs, each name once."""
    for source in (
        _truncated,
        _flipped,
        _syntaxes,
        _nested,
        _lengths,
        _bombs,
        _elements,
        _pixels,
        _meta,
        _text,
        _archives,
        _things,
    ):
        yield from source()


def base(index: int = 0, **changes: object) -> bytes:
    return encoded(ct(index, series="66", **changes))


def _file(name: str, data: bytes) -> Hostile:
    return Hostile(name, lambda path: path.write_bytes(data) and None)


def _truncated() -> Iterator[Hostile]:
    whole = base()
    at = whole.index(PIXELS)
    for stop in (0, 1, 127, 128, 131, 132, 133, 140, 144, 200, 300, 400, 600, 800, at - 1):
        yield _file(f"cut to {stop} bytes", whole[:stop])
    for back in (0, 4, 8, 12, 13, 43):
        yield _file(f"cut {back} bytes behind the pixel data's tag", whole[: at + back])
    yield _file("padded with zeros", whole + bytes(2048))
    yield _file("padded with text", whole + b"Leonore Kraehwinkler" * 9)
    yield _file(
        "trailing padding element",
        whole + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 64) + bytes(64),
    )
    yield _file("two files in one", whole + whole)


def _flipped() -> Iterator[Hostile]:
    chance = random.Random(20261121)
    whole = base()
    for number in range(40):
        data = bytearray(whole)
        for _ in range(1 + number % 4):
            data[chance.randrange(132, len(data))] ^= 1 << chance.randrange(8)
        yield _file(f"flipped bits {number}", bytes(data))


def _syntaxes() -> Iterator[Hostile]:
    """Each transfer syntax that pydicom lists: with native pixels that belie it."""
    for number, uid in enumerate(AllTransferSyntaxes):
        yield _file(f"native pixels named {uid.keyword or number}", relabeled(base(number), uid))
    yield _file("an unknown transfer syntax", relabeled(base(), "1.2.3.4.5"))
    yield _file("an empty transfer syntax", relabeled(base(), ""))
    whole = pydicom.dcmread(BytesIO(base(70)))
    whole.PixelData = np.frombuffer(whole.PixelData, "<u2").byteswap().tobytes()
    whole.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, whole, implicit_vr=False, little_endian=False)
    yield _file("big endian", buffer.getvalue())
    for number, uid in enumerate(("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80")):
        square = {"Rows": 16, "Columns": 16, "PixelData": bytes(range(256)) * 2}
        whole = pydicom.dcmread(BytesIO(base(80 + number, **square)))
        whole.compress(uid, generate_instance_uid=False)
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, whole)
        yield _file(f"compressed by {uid}", buffer.getvalue())
    implicit = encoded(ct(90, series="66"), implicit=True)
    yield _file("implicit", implicit)
    yield _file("implicit named explicit", relabeled(implicit, ExplicitVRLittleEndian))


def _nested() -> Iterator[Hostile]:
    for depth in (15, 16, 17, 100, 1000, 10_000):
        for defined in (False, True):
            name = f"{depth} deep, {'defined' if defined else 'undefined'} lengths"
            yield _file(name, inserted(nest(depth, defined=defined)))
    private = struct.pack("<HH2sHI", 0x0019, 0x1010, b"UN", 0, UNDEFINED)
    inner = struct.pack("<HHI", 0x0019, 0x1010, UNDEFINED)
    yield _file("10000 deep in UN", inserted(private + ITEM + (inner + ITEM) * 10_000))
    yield _file("a sequence that never ends", inserted(_sequence(UNDEFINED) + ITEM * 5000))
    yield _file("items without end", inserted(_sequence(UNDEFINED) + ITEM))
    yield _file("an item outside a sequence", inserted(ITEM))
    yield _file("delimiters alone", inserted(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) * 9))
    many = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 300_000
    yield Hostile(
        "300000 empty items",
        lambda path: path.write_bytes(inserted(_sequence(len(many)) + many)) and None,
    )


def _lengths() -> Iterator[Hostile]:
    for length in (0xFFFFFFFE, 0x7FFFFFFF, 1 << 24, 10_001):
        head = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, length)
        yield _file(f"a sequence of {length} bytes", inserted(head))
        head = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, length)
        yield _file(f"bulk data of {length} bytes", inserted(head))
    for length in (0xFFFF, 0xFFFE, 1001):
        yield _file(
            f"a text of {length} bytes",
            inserted(_short(0x0008, 0x103E, b"LO", b"", length), 0x0008103E),
        )
    yield _file(
        "a text of undefined length",
        inserted(struct.pack("<HH2sHI", 0x0008, 0x103E, b"UT", 0, UNDEFINED)),
    )
    yield _file("an odd length", inserted(_short(0x0008, 0x103E, b"LO", b"abc"), 0x0008103E))
    yield _file(
        "an odd length of a UID",
        base().replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.2"),
    )
    yield _file(
        "zero lengths",
        inserted(_short(0x0008, 0x0020, b"DA", b""), 0x00080020),
    )
    yield _file("pixel data of zero length", base(PixelData=b""))
    yield _file(
        "pixel data of odd length",
        base(Rows=3, Columns=3, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=b"123456789"),
    )


def _bombs() -> Iterator[Hostile]:
    for mebibytes, heavy in ((1, False), (2048, True)):
        yield Hostile(f"deflated zeros, {mebibytes} MiB", _deflated(mebibytes), heavy)
    yield Hostile("deflated private data, 600 MiB", _deflated(600, element=True), heavy=True)
    yield _file("deflated and cut", _deflate(base()[:-20], whole=False)[:-30])
    yield _file("deflated whole", _deflate(base()))
    yield _file(
        "deflated garbage", relabeled(base()[:132], "1.2.840.10008.1.2.1.99") + b"garbage" * 99
    )
    for side in (60_000, 8192):
        size = (
            struct.pack(">HHIIIIIIIIH", 47, 0, side, side, 0, 0, side, side, 0, 0, 1) + b"\x0f\1\1"
        )
        stream = (
            b"\xff\x4f\xff\x51" + size + b"\xff\x52" + struct.pack(">HBBHBB", 12, 0, 0, 1, 0, 5)
        )
        yield _file(f"JPEG 2000 of {side} square", capsule("1.2.840.10008.1.2.4.90", stream))
        whole = change(ct(), Rows=min(side, 8192), Columns=min(side, 8192))
        yield _file(
            f"JPEG 2000 of {side} square, as the header says",
            capsule("1.2.840.10008.1.2.4.90", stream, whole),
        )
        size = struct.pack(">HBHHB", 11, 16, min(side, 65535), min(side, 65535), 1) + b"\1\x11\0"
        yield _file(
            f"JPEG-LS of {side} square",
            capsule("1.2.840.10008.1.2.4.80", b"\xff\xd8\xff\xf7" + size),
        )
    whole = change(ct(), Rows=16, Columns=16, PixelData=bytes(512))
    yield _file("JPEG-LS that spins", spinning(whole))
    rows = 8192
    runs = b"\x81\0" * (rows * rows // 128)
    stream = struct.pack("<16I", 2, 64, 64 + len(runs), *([0] * 13)) + runs * 2
    yield Hostile(
        "RLE of 8192 square from little",
        lambda path: (
            path.write_bytes(
                capsule("1.2.840.10008.1.2.5", stream, change(ct(), Rows=rows, Columns=rows))
            )
            and None
        ),
        heavy=True,
    )
    runs = b"\x81\0" * 2_000_000
    bomb = struct.pack("<16I", 2, 64, 64 + len(runs), *([0] * 13)) + runs * 2
    yield _file("RLE of 256 MiB named 4 square", capsule("1.2.840.10008.1.2.5", bomb))
    far = struct.pack("<16I", 2, 64, 2**32 - 1, *([0] * 13)) + b"\x0f" + bytes(range(24))
    small = change(ct(), Rows=4, Columns=4, PixelData=bytes(32))
    yield _file("RLE whose second plane is 4 GiB away", capsule("1.2.840.10008.1.2.5", far, small))
    for frames in ("20001", "2147483647", "-1", "0", "x", "1e3"):
        yield _file(f"{frames} frames", with_text(base(), 0x00280008, b"IS", frames.encode()))
    yield _file("65535 rows and columns", base(Rows=65535, Columns=65535))


def _elements() -> Iterator[Hostile]:
    study = _short(0x0008, 0x0020, b"DA", b"20200101")
    yield _file("a tag twice", inserted(study + study, 0x00080020))
    yield _file(
        "tags that descend", inserted(_short(0x0010, 0x0010, b"PN", b"A^B ") + study, 0x00080020)
    )
    for vr in (b"ZZ", b"\0\0", b"  ", b"SQ", b"UN", b"OW", b"PN", b"FD", b"??"):
        yield _file(
            f"a date with VR {vr!r}", base().replace(b"\x08\0\x20\0DA", b"\x08\0\x20\0" + vr)
        )
    for keyword, vr in (
        ("Rows", b"LO"),
        ("PatientID", b"US"),
        ("SOPInstanceUID", b"LO"),
        ("PixelData", b"UN"),
        ("PixelData", b"UT"),
    ):
        tag = pydicom.datadict.tag_for_keyword(keyword) or 0
        old = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        at = base().index(old + pydicom.datadict.dictionary_VR(tag)[:1].encode())
        data = base()
        yield _file(f"{keyword} with VR {vr.decode()}", data[: at + 4] + vr + data[at + 6 :])
    block = _short(0x0019, 0x0010, b"LO", b"MAKER ")
    crowd = b"".join(_short(0x0019, 0x1000 + n, b"DS", b"1.") for n in range(256))
    yield _file("a full private block", inserted(block + crowd, 0x00190010))
    yield _file("private data of nobody", inserted(crowd, 0x00190010))
    yield _file(
        "a private block named twice",
        inserted(block + _short(0x0019, 0x0011, b"LO", b"MAKER "), 0x00190010),
    )
    yield _file(
        "group lengths", inserted(_short(0x0008, 0x0000, b"UL", struct.pack("<I", 99)), 0x00080000)
    )
    yield _file(
        "command elements", inserted(_short(0x0000, 0x0002, b"UI", b"1.2.840.10008.1.1\0"), 0)
    )
    yield _file("a directory record", inserted(_sequence(0, 0x0004, 0x1220), 0x00041220))
    yield Hostile("300000 elements", lambda path: path.write_bytes(crowded()) and None)


def _pixels() -> Iterator[Hostile]:
    for name, changes in {
        "too few pixels": {"PixelData": b"\0" * 30},
        "too many pixels": {"PixelData": b"\0" * 40},
        "no pixels": {"PixelData": None},
        "no rows": {"Rows": 0},
        "no bits": {"BitsAllocated": 0},
        "two samples": {"SamplesPerPixel": 2},
        "signed pixels": {"PixelRepresentation": 1},
        "a slope of zero": {"RescaleSlope": "0"},
        "an overlay in the pixels": {},
        "burned in": {"BurnedInAnnotation": "YES"},
    }.items():
        dataset = ct(0, series="66", **changes)
        if "overlay" in name:
            dataset.add_new(0x60000100, "US", 16)
            dataset.add_new(0x60000102, "US", 12)
        yield _file(name, encoded(dataset))
    whole = base()
    at = whole.index(PIXELS)
    for name, fragments in {
        "no fragments": b"",
        "an empty fragment": struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2,
        "a fragment beyond the file": struct.pack("<HHI", 0xFFFE, 0xE000, 1 << 30),
        "5000 fragments": (struct.pack("<HHI", 0xFFFE, 0xE000, 2) + b"ab") * 5000,
    }.items():
        head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
        data = whole[:at] + head + fragments + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        yield _file(name, data)
        yield _file(f"{name}, named RLE", relabeled(data, "1.2.840.10008.1.2.5"))


def _meta() -> Iterator[Hostile]:
    whole = base()
    start = 132 + 12 + struct.unpack_from("<I", whole, 140)[0]
    yield _file("no preamble", whole[128:])
    yield _file("no preamble and no meta", whole[start:])
    yield _file("no meta", whole[:132] + whole[start:])
    yield _file("no group length of the meta", whole[:132] + whole[144:])
    yield _file(
        "a wrong group length of the meta", whole[:140] + struct.pack("<I", 9) + whole[144:]
    )
    yield _file(
        "a meta that says another instance",
        whole.replace(f"{ROOT}.66.1".encode(), f"{ROOT}.66.8".encode(), 1),
    )
    yield _file(
        "a meta element of 4 GiB",
        whole[:132] + struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, UNDEFINED) + whole[132:],
    )
    yield _file("a preamble that is a program", b"MZ" + b"\x90" * 126 + whole[128:])
    yield _file("a preamble that is a TIFF", b"II*\0" + bytes(124) + whole[128:])
    for name, data in {
        "a PNG": b"\x89PNG\r\n\x1a\n",
        "an ELF": b"\x7fELF",
        "text": b"Leonore",
        "a gzip": b"\x1f\x8b",
    }.items():
        yield _file(name, data + bytes(500))


def _text() -> Iterator[Hostile]:
    for charset in (
        "ISO_IR 999",
        "ISO 2022 IR 87",
        "GB18030",
        "\\",
        "ISO 2022 IR 6\\ISO 2022 IR 87",
    ):
        yield _file(
            f"character set {charset!r}", with_text(base(), 0x00080005, b"CS", charset.encode())
        )
    for name, value in {
        "escape": b"\x1b$B\x1b$B",
        "nulls": b"\0" * 64,
        "high": b"\xff\xfe" * 32,
        "many": b"\\" * 200,
    }.items():
        yield _file(f"a name of {name}", with_text(base(), 0x00100010, b"PN", value))
        yield _file(f"a description of {name}", with_text(base(), 0x0008103E, b"LO", value))
    for value in (
        b"1.2.3.a",
        b"1..2",
        b"." * 64,
        b"1" * 65,
        b"1\\2",
        b" ",
        b"../../etc/passwd",
        b"1.2/3.4",
    ):
        yield _file(f"a series UID {value!r}"[:80], with_text(base(), 0x0020000E, b"UI", value))
    for value in (b"0\\0", b"nan\\nan\\nan", b"1e999\\0\\0", b"0\\0\\0\\0"):
        yield _file(f"a position {value!r}", with_text(base(), 0x00200032, b"DS", value))


def _archives() -> Iterator[Hostile]:
    def packed(*names: str, data: bytes = b"x", mode: int = 0) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                entry = zipfile.ZipInfo(name)
                entry.create_system, entry.external_attr = 3, mode << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, data)
        return buffer.getvalue()

    for name in ("../x", "/x", "a/../../x", "C:/x", "a\\..\\x", "a/./x", "\x01"):
        yield _file(f"archive with {name!r}", packed(name))
    yield _file("archive with a link", packed("x", data=b"/etc/passwd", mode=0o120777))
    yield _file("archive with a device", packed("x", mode=0o020666))
    yield _file("archive in an archive", packed("inner.zip", data=packed("x", data=base())))
    yield _file("an empty archive", packed())
    yield _file("archive cut off", packed("x", data=base())[:-30])
    yield _file(
        "archive of names beyond the limit", packed(*(f"{n}" for n in range(3000)), data=b"")
    )
    yield Hostile(
        "archive bomb", lambda path: path.write_bytes(packed("x", data=bytes(64 << 20))) and None
    )
    yield Hostile(
        "archive bomb by bzip2", lambda path: path.write_bytes(_bzip2_bomb()) and None, heavy=True
    )
    named = packed("\u00fc" * 9)
    yield _file("archive with a name in no encoding", named.replace(b"\xc3\xbc", b"\xff\xff"))
    body = packed("x", data=b"y" * 999)
    at = body.index(b"PK\x01\x02") + 24
    yield _file("archive that lies about sizes", body[:at] + struct.pack("<I", 5) + body[at + 4 :])


def _bzip2_bomb() -> bytes:
    """An archive that names a kilobyte, where one read of its entry inflates a gibibyte."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive,
        archive.open("x", "w") as entry,
    ):
        for _ in range(1024):
            entry.write(bytes(1 << 20))
    body = bytearray(buffer.getvalue())
    at = body.index(b"PK\x01\x02") + 24
    body[at : at + 4] = struct.pack("<I", 1024)
    return bytes(body)


def _things() -> Iterator[Hostile]:
    """Things in a folder that are no plain files."""
    yield Hostile("fifo", os.mkfifo)
    yield Hostile("link to a file", lambda path: path.symlink_to("/etc/passwd"))
    yield Hostile("link to a device", lambda path: path.symlink_to("/dev/zero"))
    yield Hostile("link to nothing", lambda path: path.symlink_to(path.parent / "nothing"))
    yield Hostile("link to its folder", lambda path: path.symlink_to(path.parent))
    yield Hostile("a folder", Path.mkdir)
    yield Hostile("a sparse file", _sparse)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


# The parts that inputs are made of.


def relabeled(data: bytes, uid: str) -> bytes:
    """The file with another transfer syntax in its meta."""
    old = (
        b"1.2.840.10008.1.2.1\0"
        if b"1.2.840.10008.1.2.1\0" in data[:400]
        else b"1.2.840.10008.1.2\0"
    )
    new = uid.encode() + b"\0" * (len(uid) % 2)
    data = data.replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new, 1)
    (length,) = struct.unpack_from("<I", data, 140) if len(data) > 144 else (0,)
    return data[:140] + struct.pack("<I", max(length + len(new) - len(old), 0)) + data[144:]


def inserted(raw: bytes, tag: int = 0x00081140) -> bytes:
    """The file with bytes where an element of that tag belongs, in its stead."""
    data = base()
    parsed = pydicom.dcmread(BytesIO(data))
    found = [e for e in parsed.elements() if int(e.tag) >= tag]
    first = found[0]
    start = data.index(
        struct.pack("<HH", first.tag.group, first.tag.element), 300 if tag > 0x00080018 else 132
    )
    if int(first.tag) == tag:
        size = struct.unpack_from("<H", data, start + 6)[0] + 8
        return data[:start] + raw + data[start + size :]
    return data[:start] + raw + data[start:]


def with_text(data: bytes, tag: int, vr: bytes, value: bytes) -> bytes:
    """The file with an element's value exchanged, or added."""
    value += b" " * (len(value) % 2)
    raw = _short(tag >> 16, tag & 0xFFFF, vr, value)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if head in data:
        at = data.index(head)
        return data[:at] + raw + data[at + 8 + struct.unpack_from("<H", data, at + 6)[0] :]
    return inserted(raw, tag)


def nest(depth: int, *, defined: bool) -> bytes:
    """Sequences within sequences."""
    if not defined:
        end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        return (_sequence(UNDEFINED) + ITEM) * depth + end * depth
    parts: list[bytes] = []
    size = 0
    for _ in range(depth):
        parts.append(struct.pack("<HHI", 0xFFFE, 0xE000, size))
        parts.append(_sequence(size + 8))
        size += 20
    return b"".join(reversed(parts))


def capsule(uid: str, stream: bytes, dataset: Dataset | None = None) -> bytes:
    """A file whose one frame is a codestream."""
    data = relabeled(encoded(change(dataset or ct(), SeriesInstanceUID=f"{ROOT}.66")), uid)
    at = data.index(PIXELS)
    stream += b"\0" * (len(stream) % 2)
    items = (
        struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        + struct.pack("<HHI", 0xFFFE, 0xE000, len(stream))
        + stream
    )
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
    return data[:at] + head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def spinning(whole: Dataset) -> bytes:
    """A file whose frame takes seconds."""
    whole = pydicom.dcmread(BytesIO(encoded(change(whole, SeriesInstanceUID=f"{ROOT}.66"))))
    whole.PixelData = pydicom.encaps.encapsulate([SPINNING])
    whole["PixelData"].is_undefined_length = True
    whole.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, whole)
    return buffer.getvalue()


def crowded() -> bytes:
    """Far more elements than any scanner writes, in items."""
    one = struct.pack("<HHI", 0xFFFE, 0xE000, 8) + _short(0x0008, 0x0100, b"SH", b"")
    return inserted(_sequence(len(one) * 300_000) + one * 300_000)


def _deflate(data: bytes, *, whole: bool = True) -> bytes:
    start = 132 + 12 + struct.unpack_from("<I", data, 140)[0]
    stream = zlib.compressobj(9, wbits=-15)
    body = stream.compress(data[start:]) + (
        stream.flush() if whole else stream.flush(zlib.Z_SYNC_FLUSH)
    )
    return relabeled(data[:start], "1.2.840.10008.1.2.1.99") + body


def _deflated(mebibytes: int, *, element: bool = False) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = base()
        start = 132 + 12 + struct.unpack_from("<I", data, 140)[0]
        stream = zlib.compressobj(1, wbits=-15)
        with path.open("wb") as file:
            file.write(relabeled(data[:start], "1.2.840.10008.1.2.1.99"))
            head = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, mebibytes << 20)
            file.write(stream.compress(head if element else data[start:]))
            for _ in range(mebibytes):
                file.write(stream.compress(bytes(1 << 20)))
            file.write(stream.flush())

    return write


def _sequence(length: int, group: int = 0x0008, element: int = 0x1140) -> bytes:
    return struct.pack("<HH2sHI", group, element, b"SQ", 0, length)


def _short(group: int, element: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    return (
        struct.pack("<HH2sH", group, element, vr, len(value) if length is None else length) + value
    )
