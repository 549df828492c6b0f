"""The child of `pixels_box.py`: reads instances from standard input, looks for text, blanks it.

Each request is a length, a size, JSON and pixel data; each answer too. An answer never holds what
was read. Before the first instance the child gives up what looking does not need; what exceeds
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

MEMORY: Final = 2 * 2**30
"""Bytes of data: the models, the frames, and their blanked copy."""
SECONDS: Final = 40
"""Of processor time for one instance."""
HEAD: Final = struct.Struct("<IQ")


def main() -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    from stages.ingest.ocr import TextFinder

    finder = _load(TextFinder())
    logging.disable()
    close_in(memory=MEMORY)
    source, answer = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(HEAD.size):
        length, size = HEAD.unpack(head)
        said = json.loads(source.read(length))
        more_seconds(SECONDS)
        told, data = _answer(finder, said, source.read(size))
        raw = json.dumps(told).encode()
        answer.write(HEAD.pack(len(raw), len(data)) + raw)
        answer.write(data)
        answer.flush()


def _answer(finder: Any, said: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """What was found; with boxes and leave to blank, the pixel data anew."""
    from stages.ingest.pixels_codec import Layout, read, write
    from stages.ingest.pixels_frames import blank, views

    may_blank, task = said.pop("blank"), said.pop("task", "look")
    layout = Layout(**said)
    try:
        if task != "look":
            return _coded(task, layout, data)
        frames, photometric = read(layout, data)
        boxes = sorted({box for view in views(frames, photometric) for box in finder.boxes(view)})
        told: dict[str, Any] = {"boxes": boxes, "photometric": photometric, "syntax": ""}
        if not boxes or not may_blank:
            return told, b""
        syntax, value = write(layout, blank(frames, boxes, photometric), photometric)
    except Exception:  # noqa: BLE001 - whatever fails, the instance was not looked at
        return {"failed": True}, b""
    return {**told, "syntax": syntax}, value


def _coded(task: str, layout: Any, data: bytes) -> tuple[dict[str, Any], bytes]:
    """Frames out of compressed pixel data, or compressed pixel data out of frames."""
    import numpy as np

    from stages.ingest.pixels_codec import read, write

    if task == "decode":
        return {"syntax": ""}, read(layout, data)[0].tobytes()
    frames = np.frombuffer(data, layout.dtype).reshape(layout.grid)
    syntax, value = write(layout, frames, layout.photometric)
    return {"syntax": syntax}, value


def _load(finder: Any) -> Any:
    """Import the codecs, and do all there is once, before files can no longer be opened."""
    from importlib import import_module
    from importlib.util import find_spec

    import numpy as np
    from pydicom.pixels.decoders.base import get_decoder

    from stages.ingest.ocr import Box
    from stages.ingest.pixels_codec import JPEG_LS, Layout, read, write
    from stages.ingest.pixels_frames import blank, views

    for name in ("PIL.Jpeg2KImagePlugin", "PIL.JpegImagePlugin", "jpeg_ls", "_CharLS"):
        if find_spec(name.partition(".")[0]):
            import_module(name)
    import_module("PIL.Image").preinit()  # what else it imports on its first image
    for syntax in ("4.50", "4.80", "4.81", "4.90", "4.91", "5"):
        _ = get_decoder(f"1.2.840.10008.1.2.{syntax}").is_available
    for bits, samples, photometric in ((16, 1, "MONOCHROME2"), (8, 3, "YBR_FULL")):
        layout = Layout(
            transfer_syntax=JPEG_LS,
            frames=1,
            rows=64,
            columns=64,
            samples=samples,
            bits=bits,
            stored=bits,
            signed=False,
            photometric=photometric,
            planar=0,
        )
        frames = np.zeros(layout.grid, layout.dtype)
        frames[:, 20:40:4] = 255
        _, value = write(layout, frames, photometric)
        frames, _ = read(layout, value)
        for view in views(frames, photometric):
            finder.boxes(view)
        blank(frames, [Box(0, 0, 9, 9)], photometric)
    return finder


if __name__ == "__main__":
    main()
