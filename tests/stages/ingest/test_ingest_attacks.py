"""KNO-4, SPE-1 … SPE-3, BES-1 … BES-6: identifiers in odd places do not get through."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pydicom
import pydicom.encaps
import pytest
from helpers_canary import unchecked
from helpers_documents import presentation_state
from helpers_ingest import code, ct, encoded, item, seg
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest import keys
from stages.ingest.header import Identifier, quiet
from stages.ingest.instance import Converter, Item
from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import scan
from stages.ingest.raw_file import open_file
from stages.ingest.rules import Rules
from stages.ingest.sources import Handle
from stages.ingest.tables import classes

NEEDLE = "Zwiebelfisch"
RULES = Rules(
    subject="s-aaaaaaaaaa",
    uid_key=b"u" * 32,
    reader_key=b"r" * 32,
    days=-1000,
    readers={},
    labels={},
    codes={},
    depth=16,
)
GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)
JPEG, JPEG_LS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80"
JPEG_2000, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


def passed(data: bytes) -> bytes:
    """What comes out of one file."""
    with quiet(), Converter(RULES, Limits()) as converter:
        return taken(converter, data)


def taken(converter: Converter, data: bytes) -> bytes:
    header = Identifier(Limits()).identify(data)
    new = [keys.replace_uid(RULES.uid_key, uid) for uid in (header.series, header.sop)]
    kind = classes()[header.sop_class].kind
    item = Item(kind, new[0], new[1], "0" * 64, Handle("", None))
    return b"".join(converter.convert(item, data).pieces)


def written(dataset: Dataset) -> bytes:
    with unchecked():
        return encoded(dataset)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in explicit VR."""
    value += b"\0" * (len(value) % 2)
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    size = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + size + value


def put(data: bytes, tag: int, raw: bytes) -> bytes:
    """The file with an element's bytes where it belongs, in its stead."""
    file = open_file(data, Limits())
    for found in scan(file.data, file.at, file.syntax, Limits()).elements:
        if found.tag >= tag:
            return (
                data[: found.start] + raw + data[found.stop if found.tag == tag else found.start :]
            )
    raise AssertionError("an element of the pixels")


def implicit_items(tag: int, value: bytes) -> bytes:
    inner = struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner


@pytest.mark.rule("KNO-4")
@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00101005, b"UN", b"Zwiebelfisch^Anna"),
        (0x00101005, b"LT", b"Zwiebelfisch^Anna"),
        (0x00101005, b"UT", b"Zwiebelfisch^Anna"),
        (0x00101001, b"LO", b"Zwiebelfisch^Anna"),
        (0x00101040, b"UN", b"Zwiebelfisch 5"),
        (0x00101002, b"UN", implicit_items(0x00100010, b"Zwiebelfisch^A")),
    ],
)
def test_a_name_is_known_whatever_the_vr_in_the_file(tag: int, vr: bytes, value: bytes) -> None:
    data = written(ct(Manufacturer=NEEDLE, BodyPartExamined=NEEDLE.upper()))
    assert NEEDLE.encode() in passed(data)  # nobody's: a maker's name
    assert NEEDLE.lower().encode() not in passed(put(data, tag, element(tag, vr, value))).lower()


@pytest.mark.rule("SPE-1")
@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        (b"ISO_IR 192", "latin-1"),
        (b"ISO_IR 100", "utf-8"),
        (b"ISO_IR 6", "utf-8"),
        (b"ISO_IR 144", "utf-8"),
        (b"ISO_IR 144", "latin-1"),
        (b"ISO 2022 IR 87", "latin-1"),
    ],
)
def test_a_name_in_another_character_set_than_declared_is_known(charset: bytes, codec: str) -> None:
    data = written(ct(Manufacturer="Mueller CT", BodyPartExamined="MULLER", ScanOptions="ZOE"))
    data = put(data, 0x00080005, element(0x00080005, b"CS", charset))
    out = passed(put(data, 0x00100010, element(0x00100010, b"PN", "Müller^Zoë".encode(codec))))
    assert not any(needle in out for needle in (b"Mueller", b"MULLER", b"ZOE"))


@pytest.mark.rule("SPE-3")
@pytest.mark.parametrize("text", ["LI BO", "LIBO", "BO LI", "BOLI"])
def test_a_name_of_short_words_is_known_as_a_whole(text: str) -> None:
    assert text.encode() not in passed(written(ct(PatientName="Li^Bo", BodyPartExamined=text)))
    assert text.encode() in passed(written(ct(PatientName="Ng^Bo", BodyPartExamined=text)))


def _numbers(keyword: str, vr: str, form: str, text: bytes) -> Callable[[Dataset], None]:
    def write(dataset: Dataset) -> None:
        numbers = [*struct.unpack(f"<{len(text) // struct.calcsize(form)}{form}", text)]
        dataset.CTExposureSequence = Sequence([Dataset()])
        dataset.CTExposureSequence[0].add_new(keyword, vr, numbers)

    return write


@pytest.mark.rule("SPE-2")
@pytest.mark.parametrize(
    ("keyword", "vr", "form", "text"),
    [
        ("LUTData", "US", "H", "krähwinkler".encode("utf-16-le")),
        ("PixelPaddingValue", "US", "H", b"Kraehwinkler"),
        ("ReferencePixelX0", "SL", "i", b"KRAEHWINKLER"),
        ("AcquisitionDuration", "FD", "d", b"Leonore\0"),
        ("FrameIncrementPointer", "AT", "H", b"Kraehwinkler"),
    ],
)
def test_a_name_spelled_in_numbers_goes(keyword: str, vr: str, form: str, text: bytes) -> None:
    dataset = ct()
    if vr == "AT":
        halves = struct.unpack("<6H", text)
        tags = [one << 16 | two for one, two in zip(halves[::2], halves[1::2], strict=True)]
        dataset.add_new(keyword, vr, tags)
    else:
        _numbers(keyword, vr, form, text)(dataset)
    data = written(dataset)
    assert text in data
    assert text not in passed(data)


@pytest.mark.rule("SPE-2")
@pytest.mark.rule("PLN-1")
def test_a_name_spelled_in_a_number_goes_where_the_instance_is_like_an_earlier_one() -> None:
    with quiet(), Converter(RULES, Limits()) as converter:
        outs = [
            taken(converter, written(ct(index, AcquisitionDuration=number)))
            for index, number in enumerate((1.5, 2.5, *struct.unpack("<d", b"Leonore\0"), 3.5))
        ]
    assert b"Leonore" not in outs[2]
    assert struct.pack("<d", 3.5) in outs[3]


@pytest.mark.parametrize("number", [NEEDLE, ["1", NEEDLE], "4711-0815"])
def test_a_segments_number_that_is_none_is_not_written_into_its_label(number) -> None:
    dataset = seg()
    dataset.SegmentSequence[0].add_new("SegmentNumber", "LO", number)
    out = passed(written(dataset))
    assert NEEDLE.encode() not in out
    assert b"4711" not in out


@pytest.mark.parametrize("text", ["PID 4711815", "GEB 431207", "77777"])
def test_a_code_string_with_a_long_number_is_replaced(text: str) -> None:
    assert text.encode() not in passed(written(ct(ScanOptions=["HELIX", text])))
    assert b"HELIX" in passed(written(ct(ScanOptions=["HELIX", text])))


def test_code_strings_that_a_person_types_keep_the_vocabularys_words_alone() -> None:
    dataset = presentation_state()
    dataset.GraphicLayerSequence[0].GraphicLayer = NEEDLE.upper()
    dataset.GraphicAnnotationSequence[0].GraphicLayer = NEEDLE.upper()
    dataset.ContentLabel = NEEDLE.upper()
    assert NEEDLE.upper().encode() not in passed(written(dataset))
    dataset.ContentLabel = "LESION"
    assert b"LESION" in passed(written(dataset))


def test_a_code_without_a_value_keeps_no_meaning() -> None:
    nameless = item(CodingSchemeDesignator="99X", CodeMeaning=NEEDLE)
    inner = code("T-1", "99X", NEEDLE)
    dataset = ct(AnatomicRegionSequence=Sequence([nameless]), ViewCodeSequence=Sequence([inner]))
    assert NEEDLE.encode() not in passed(written(dataset))


def stream(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, form, **options)
    return buffer.getvalue()


def compressed(syntax: str) -> bytes:
    """A codestream that pydicom's encoders write."""
    whole = pydicom.dcmread(io.BytesIO(packed(EXPLICIT, b"")))
    whole.compress(syntax, generate_instance_uid=False)
    return next(pydicom.encaps.generate_frames(whole.PixelData, number_of_frames=1))


EXPLICIT = "1.2.840.10008.1.2.1"


def packed(syntax: str, *streams: bytes, table: bool = True) -> bytes:
    """A file with one frame for each codestream; with none, native."""
    gray = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "Rows": 16, "Columns": 16}
    whole = pydicom.dcmread(
        io.BytesIO(written(ct(**gray, NumberOfFrames=len(streams), PixelData=GRAY.tobytes())))
    )
    if syntax != EXPLICIT:
        whole.PixelData = pydicom.encaps.encapsulate([*streams], has_bot=table)
        whole["PixelData"].VR, whole["PixelData"].is_undefined_length = "OB", True
        whole.file_meta.TransferSyntaxUID = syntax
    else:
        del whole.NumberOfFrames
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, whole)
    return buffer.getvalue()


def behind(data: bytes, marker: bytes, segment: bytes) -> bytes:
    """A codestream with a segment before the first of a kind."""
    at = data.index(marker, 2)
    return data[:at] + segment + data[at:]


TEXT = NEEDLE.encode()
COMMENT = b"\xff\xfe" + struct.pack(">H", 2 + len(TEXT)) + TEXT
COMMENT_2000 = b"\xff\x64" + struct.pack(">HH", 4 + len(TEXT), 1) + TEXT


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010E] = NEEDLE
    return stream("JPEG", exif=tags)


def unused() -> bytes:
    whole = bytearray(compressed(RLE))
    whole[16 : 16 + len(TEXT)] = TEXT
    return bytes(whole)


BESIDE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a comment": (JPEG, lambda: stream("JPEG", comment=TEXT)),
    "EXIF": (JPEG, exif),
    "a comment after the frame header": (
        JPEG,
        lambda: behind(stream("JPEG"), b"\xff\xda", COMMENT),
    ),
    "a thumbnail": (
        JPEG,
        lambda: (
            stream("JPEG")
            .replace(b"\0\x10JFIF", b"\0\x1cJFIF", 1)
            .replace(b"\xff\xdb", TEXT + b"\xff\xdb", 1)
        ),
    ),
    "behind a JPEG": (JPEG, lambda: stream("JPEG") + TEXT),
    "behind a JPEG, ended twice": (JPEG, lambda: stream("JPEG") + TEXT + b"\xff\xd9"),
    "a comment of JPEG-LS": (JPEG_LS, lambda: behind(compressed(JPEG_LS), b"\xff\xf7", COMMENT)),
    "behind a JPEG-LS": (JPEG_LS, lambda: compressed(JPEG_LS) + TEXT),
    "a comment of JPEG 2000": (
        JPEG_2000,
        lambda: behind(stream("JPEG2000", no_jp2=True), b"\xff\x52", COMMENT_2000),
    ),
    "behind a JPEG 2000": (JPEG_2000, lambda: stream("JPEG2000", no_jp2=True) + TEXT),
    "unused offsets of RLE": (RLE, unused),
    "behind an RLE": (RLE, lambda: compressed(RLE) + TEXT),
}


@pytest.mark.rule("BES-1")
@pytest.mark.rule("BES-2")
@pytest.mark.rule("BES-3")
@pytest.mark.rule("BES-4")
@pytest.mark.parametrize("name", BESIDE)
def test_what_a_codestream_carries_beside_its_image_goes_and_the_image_stays(name: str) -> None:
    syntax, make = BESIDE[name]
    data = packed(syntax, make())
    assert TEXT in data
    out = passed(data)
    assert TEXT not in out
    assert len(pydicom.dcmread(io.BytesIO(out)).PixelData) == len(
        pydicom.dcmread(io.BytesIO(data)).PixelData
    )
    with quiet():
        before, after = (pydicom.dcmread(io.BytesIO(whole)).pixel_array for whole in (data, out))
    assert np.array_equal(after, before)


@pytest.mark.rule("BES-1")
@pytest.mark.parametrize(
    ("syntax", "make"),
    [
        (JPEG, lambda: stream("JPEG")),
        (JPEG_LS, lambda: compressed(JPEG_LS)),
        (RLE, lambda: compressed(RLE)),
    ],
)
def test_a_codestream_with_nothing_beside_its_image_passes_byte_for_byte(syntax, make) -> None:
    data = packed(syntax, make())
    value = pydicom.dcmread(io.BytesIO(data)).PixelData
    assert pydicom.dcmread(io.BytesIO(passed(data))).PixelData == value


@pytest.mark.rule("BES-5")
def test_a_wrong_offset_table_is_written_anew_or_quarantined() -> None:
    one = compressed(RLE)
    data = packed(RLE, one, one)
    table = struct.pack("<HHI", 0xFFFE, 0xE000, 8)
    at = data.index(table) + 8
    wrong = data[:at] + TEXT[:8] + data[at + 8 :]
    assert pydicom.dcmread(io.BytesIO(passed(wrong))).PixelData == (
        pydicom.dcmread(io.BytesIO(data)).PixelData
    )
    longer = data[: at - 4] + struct.pack("<I", 12) + TEXT + data[at + 8 :]
    with pytest.raises(Quarantined) as error:
        passed(longer)
    assert error.value.reason is Reason.DECODE


@pytest.mark.rule("BES-6")
@pytest.mark.parametrize(
    ("syntax", "make"),
    [
        (JPEG, lambda: behind(stream("JPEG"), b"\xff\xda", COMMENT[:-1])),
        (JPEG, lambda: behind(stream("JPEG"), b"\xff\xda", b"\xff\x02" + COMMENT[2:])),
        (
            JPEG_2000,
            lambda: behind(stream("JPEG2000", no_jp2=True), b"\xff\x90", b"\xff\x6f\0\4ab"),
        ),
    ],
)
def test_a_codestream_that_cannot_be_walked_is_quarantined(syntax, make) -> None:
    with pytest.raises(Quarantined) as error:
        passed(packed(syntax, make()))
    assert error.value.reason is Reason.DECODE


@pytest.mark.rule("RAW-1")
def test_the_delimiter_of_pixel_data_holds_nothing() -> None:
    data = packed(RLE, compressed(RLE))
    assert data[-8:] == struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    with pytest.raises(Quarantined):
        passed(data[:-4] + struct.pack("<I", len(TEXT)) + TEXT)
