"""What is done about text in the pixels: which images are looked at, and what follows.

Rules:

- TXT-1  Pictures (ultrasound, secondary captures) are always looked at, and so is what calls itself
         a screen save or says that text is burned in. What says that none is, is not believed.
- TXT-2  Of volumes (CT, MR) the declared fraction is looked at, chosen by a keyed digest of the SOP
         instance UID: the same instances in every run, order and process.
- TXT-3  Text in a picture is blanked; text in a volume quarantines its series, since a blanked
         box is a false finding to a network that learns from it. A parameter changes both.
- TXT-4  What says that text is burned in, and none is found in it, is quarantined: one of the two
         is wrong.
- TXT-5  `BurnedInAnnotation` NO and the code 113101 stand only in what was looked at, and where
         text was found also blanked.
- TXT-6  An image that was lossy stays said so, whatever it is written as.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest import codes, keys, overlay
from stages.ingest.params import PixelParams
from stages.ingest.pixels_box import Looker, Seen
from stages.ingest.pixels_codec import Layout
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw_codec import Shape
from stages.ingest.raw_file import RawFile
from stages.ingest.raw_pixels import Pixels
from stages.ingest.rules import value_of
from stages.ingest.values import parts

PICTURE: Final = "picture"
IMAGE: Final = "image"
UNTOUCHED, CHECKED, BLANKED = "untouched", "checked", "blanked"
"""What stands in the column `pixels`: not looked at, looked at without finding text, blanked."""
CLEANED: Final = ("113101", "DCM", "Clean Pixel Data Option")
_JPEG: Final = "1.2.840.10008.1.2.4.50"


@dataclass(frozen=True)
class Look:
    """What an instance's header tells about its pixels."""

    kind: str
    says_text: bool
    """It calls itself a screen save, or says that annotation is burned in."""
    overlay: bool
    """It tells of an overlay within the pixel data."""


@dataclass(frozen=True)
class Treated:
    """Pixel data that passes on, and what was done to it."""

    pixels: Pixels
    transfer_syntax: str
    done: str = UNTOUCHED
    text_boxes: int = 0
    photometric: str = ""
    """Of the new pixel data; "" where it stays as it was."""


def look_of(source: Dataset, kind: str) -> Look:
    """Read what a header tells about its pixels."""
    image_type = [text.upper() for text in _parts(source, "ImageType")]
    flag = "".join(_parts(source, "BurnedInAnnotation")).upper()
    screen = any("SCREEN" in text for text in image_type)
    return Look(kind, screen or flag not in ("", "NO"), overlay.in_pixels(source))


def is_sampled(key: bytes, sop: str, fraction: float) -> bool:
    """Whether an instance of a volume is one of those looked at (TXT-2)."""
    drawn = int.from_bytes(keys.derive(key, f"look {sop}")[:8])
    return drawn < fraction * 2**64


def policy(kind: str, params: PixelParams) -> str:
    """`blank` or `quarantine` (TXT-3)."""
    if params.text != "by kind":
        return params.text
    return "blank" if kind == PICTURE else "quarantine"


def must_look(kind: str, params: PixelParams, *, sampled: bool) -> bool:
    """Whether an instance is looked at, whatever it says (TXT-1, TXT-2).

    Where text in volumes is blanked, one slice does not stand for its series: all are looked at.
    """
    if kind == PICTURE:
        return True
    return kind == IMAGE and (sampled or params.text == "blank")


def treat(
    file: RawFile, source: Dataset, pixels: Pixels, *, look: Look, sampled: bool,
    params: PixelParams, looker: Looker,
) -> Treated:  # fmt: skip
    """Clear overlays, look for text, and blank it where that is the policy.

    Args:
        file: where the pixels come from.
        source: its header.
        pixels: native ones in little endian.
        look: what the header tells.
        sampled: whether the instance is one of the sample.
        params: what to do.
        looker: who looks.

    Raises:
        Quarantined: text where it is not blanked (TXT-3, TXT-4), an overlay that cannot be
            cleared (OVL-3), or pixels that cannot be looked at.
    """
    blank = policy(look.kind, params) == "blank"
    if look.says_text and not blank:
        raise Quarantined(Reason.BURNED_IN)
    if look.overlay:
        pixels = _without_overlay(file, source, pixels)
    if not (look.says_text or must_look(look.kind, params, sampled=sampled)):
        return Treated(pixels, file.transfer_syntax)
    layout = _layout(file, source, pixels.shape)
    seen = looker.look(layout, pixels.value, blank=blank)
    if seen.boxes and not blank:
        raise Quarantined(Reason.TEXT)
    if look.says_text and not seen.boxes:
        raise Quarantined(Reason.BURNED_IN)
    return _treated(file, pixels, seen)


def state(result: Dataset, treated: Treated, transfer_syntax: str) -> None:
    """Write what was done to the pixels into the header (TXT-5, TXT-6).

    Args:
        result: the pseudonymized instance; changed in place.
        treated: its pixels.
        transfer_syntax: of the source.
    """
    if treated.done == UNTOUCHED:
        return
    result.BurnedInAnnotation = "NO"
    said = [*result.DeidentificationMethodCodeSequence, codes.item_of(CLEANED)]
    result.DeidentificationMethodCodeSequence = Sequence(
        sorted(said, key=lambda item: str(item.CodeValue))
    )
    if treated.done == CHECKED:
        return
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in result:
            delattr(result, keyword)
    if treated.transfer_syntax != transfer_syntax and treated.photometric:
        result.PhotometricInterpretation = treated.photometric
        if "PlanarConfiguration" in result:
            result.PlanarConfiguration = 0
    if transfer_syntax == _JPEG:
        result.LossyImageCompression = "01"


def _treated(file: RawFile, pixels: Pixels, seen: Seen) -> Treated:
    if not seen.boxes:
        return Treated(pixels, file.transfer_syntax, CHECKED)
    syntax = seen.transfer_syntax if file.codec else file.transfer_syntax
    return Treated(
        replace(pixels, value=seen.value),
        syntax,
        BLANKED,
        seen.boxes,
        seen.photometric if file.codec else "",
    )


def _without_overlay(file: RawFile, source: Dataset, pixels: Pixels) -> Pixels:
    shape = pixels.shape
    value = None
    if not file.codec:
        value = overlay.clear(
            pixels.value,
            bits=shape.bits,
            stored=shape.stored,
            high=int(source.get("HighBit") or shape.stored - 1),
            signed=shape.signed,
        )
    if value is None:
        raise Quarantined(Reason.OVERLAY)
    return replace(pixels, value=value)


def _layout(file: RawFile, source: Dataset, shape: Shape) -> Layout:
    return Layout(
        transfer_syntax=file.transfer_syntax if file.codec else "",
        frames=shape.frames,
        rows=shape.rows,
        columns=shape.columns,
        samples=shape.samples,
        bits=shape.bits,
        stored=shape.stored,
        signed=shape.signed,
        photometric=shape.photometric,
        planar=int(value_of(source, "PlanarConfiguration") or 0),
    )


def _parts(source: Dataset, keyword: str) -> list[str]:
    try:
        return parts(source.get(keyword))
    except Exception:  # noqa: BLE001 - any fault of the parser is a damaged file
        raise Quarantined(Reason.CORRUPT) from None
