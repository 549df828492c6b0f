"""Decoding under guard: a process of its own decodes each frame once and says whether it could.

The pixels that pass on are the source's bytes; what is decoded is thrown away. So no stage after
this one meets a codestream that a decoder cannot take.

Rules:

- BOX-1  Decoders run in a child that can neither write nor open files, within limits of memory and
         of processor time for each instance (`sandbox_child.py`), and no longer than `_WAIT`.
- BOX-2  A child that dies, hangs or refuses costs its instance; the next one gets a new child.
"""

from __future__ import annotations

import json
import select
import struct
import subprocess
from typing import Final

from stages.box import start
from stages.ingest import sandbox_child
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import Buffer
from stages.ingest.raw_pixels import Pixels

_WAIT: Final = 18
"""Seconds for one instance, of the clock."""


class Decoder:
    """A child that decodes, started when first needed."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def check(self, transfer_syntax: str, pixels: Pixels) -> None:
        """Let the child decode every frame.

        Raises:
            Quarantined: it could not (BOX-2).
        """
        shape = pixels.shape
        said = {
            "transfer_syntax": transfer_syntax,
            "number_of_frames": shape.frames,
            "rows": shape.rows,
            "columns": shape.columns,
            "samples_per_pixel": shape.samples,
            "bits_allocated": shape.bits,
            "bits_stored": shape.stored,
            "pixel_representation": int(shape.signed),
            "photometric_interpretation": shape.photometric,
        }
        head = json.dumps(said).encode()
        if not self._ask((struct.pack("<IQ", len(head), len(pixels.value)), head, pixels.value)):
            raise Quarantined(Reason.DECODE)

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _ask(self, pieces: tuple[Buffer, ...]) -> bool:
        child = self._child = self._child or start(
            sandbox_child.__name__, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child has no pipes")
        answer = b""
        try:
            for piece in pieces:
                child.stdin.write(piece)
            child.stdin.flush()
            if select.select([child.stdout], [], [], _WAIT)[0]:
                answer = child.stdout.read(1)
        except OSError:  # it died while it was told
            answer = b""
        if answer not in (b"y", b"n"):
            self.close()
        return answer == b"y"
