"""The child of `sandbox.py`: reads instances from standard input, answers `y` or `n` for each.

It imports nothing of this product, so that it can be run by its path. Before the first instance it
gives up what decoding does not need; what exceeds the limits kills it.
"""

from __future__ import annotations

import json
import logging
import resource
import struct
import sys
import warnings
from typing import Any, Final

MEMORY: Final = 896 * 2**20
"""Bytes of data, the encapsulated and the decoded frame among them."""
SECONDS: Final = 10
"""Of processor time for one instance."""


def main() -> None:
    """Answer until standard input ends."""
    from pydicom.pixels.decoders.base import get_decoder

    warnings.simplefilter("ignore")
    logging.disable()
    _load(get_decoder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    source, answer = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(12):
        length, size = struct.unpack("<IQ", head)
        said = json.loads(source.read(length))
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        answer.write(b"y" if _decodes(get_decoder, said, source.read(size)) else b"n")
        answer.flush()


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
