"""The child of `sandbox.py`: reads instances from standard input, answers `y` or `n` for each.

Before the first instance it gives up what decoding does not need (`stages/boxed.py`); what exceeds
the limits kills it.
"""

from __future__ import annotations

import json
import logging
import struct
import sys
import warnings
from typing import Any, Final

from stages.boxed import close_in, more_seconds

MEMORY: Final = 896 * 2**20
"""Bytes of data, the encapsulated and the decoded frame among them."""
SECONDS: Final = 10
"""Of processor time for one instance, at most."""
LEAST: Final = 2
A_SECOND: Final = 2**22
"""Samples that are decoded in a second by the slowest of the decoders, several times over; there
are codestreams of a few hundred bytes on which one spins for seconds."""


def main() -> None:
    """Answer until standard input ends."""
    from pydicom.pixels.decoders.base import get_decoder

    warnings.simplefilter("ignore")
    logging.disable()
    _load(get_decoder)
    close_in(memory=MEMORY)
    source, answer = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(12):
        length, size = struct.unpack("<IQ", head)
        said = json.loads(source.read(length))
        more_seconds(seconds_for(said))
        answer.write(b"y" if _decodes(get_decoder, said, source.read(size)) else b"n")
        answer.flush()


def seconds_for(said: dict[str, Any]) -> int:
    """Processor time that decoding an instance may take."""
    samples = said["rows"] * said["columns"] * said["samples_per_pixel"] * said["number_of_frames"]
    return min(SECONDS, LEAST + int(samples) // A_SECOND)


def _decodes(get_decoder: Any, said: dict[str, Any], data: bytes) -> bool:
    try:
        decoder = get_decoder(said.pop("transfer_syntax"))
        shape = (said["rows"], said["columns"], said["samples_per_pixel"])
        for number in range(said["number_of_frames"]):
            options = {**said, "pixel_keyword": "PixelData", "planar_configuration": 0}
            frame, _ = decoder.as_array(data, index=number, raw=True, **options)
            if frame.size != shape[0] * shape[1] * shape[2]:
                return False
    except Exception:  # noqa: BLE001 - whatever a decoder raises, it could not
        return False
    return True


def _load(get_decoder: Any) -> None:
    """Import the codecs before files can no longer be opened."""
    from importlib import import_module
    from importlib.util import find_spec

    for name in ("numpy", "PIL.Jpeg2KImagePlugin", "PIL.JpegImagePlugin", "jpeg_ls", "_CharLS"):
        if find_spec(name.partition(".")[0]):
            import_module(name)
    import_module("PIL.Image").preinit()  # what else it imports on its first image
    for syntax in ("4.50", "4.80", "4.81", "4.90", "4.91", "5"):
        _ = get_decoder(f"1.2.840.10008.1.2.{syntax}").is_available


if __name__ == "__main__":
    main()
