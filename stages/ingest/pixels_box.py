"""Looking for text under guard: the child that does it, asked one instance at a time.

Rules: BOX-1 and BOX-2 (`sandbox.py`), with limits of this child's own (`pixels_child.py`).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from stages.box import start
from stages.ingest import pixels_child
from stages.ingest.pixels_child import HEAD
from stages.ingest.pixels_codec import Layout
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import Buffer

_WAIT: Final = 120
"""Seconds for one instance, of the clock; the first one waits for the models too."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Seen:
    """What was found in an instance's pixels."""

    boxes: int
    """Lines of text, over all frames."""
    photometric: str
    """Of the pixels as they were decoded."""
    transfer_syntax: str
    """Of the pixel data below; "" where it stays as it was."""
    value: bytes = field(repr=False)
    """The pixel data without the text; empty where it stays as it was."""


class Looker:
    """A child that looks, started when first needed."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def look(self, layout: Layout, data: Buffer, *, blank: bool) -> Seen:
        """Let the child look at every frame that is to be looked at.

        Args:
            layout: of the pixel data.
            data: its value.
            blank: whether the pixel data is wanted anew where there is text.

        Raises:
            Quarantined: it could not (BOX-2).
        """
        head = json.dumps({**asdict(layout), "blank": blank}).encode()
        try:
            told, value = self._ask((HEAD.pack(len(head), len(data)), head, data))
            return Seen(len(told["boxes"]), told["photometric"], told["syntax"], value)
        except (OSError, ValueError, KeyError):
            raise Quarantined(Reason.UNSEEN) from None

    def decode(self, layout: Layout, data: Buffer) -> bytes:
        """Let the child decode compressed gray frames.

        Raises:
            Quarantined: it could not (BOX-2).
        """
        return self._coded("decode", layout, data)[1]

    def encode(self, layout: Layout, data: Buffer) -> tuple[str, bytes]:
        """Let the child write changed frames of what was compressed (PXC-2).

        Args:
            layout: of the compressed source.
            data: all frames, native.

        Returns:
            Transfer syntax and value of the pixel data.

        Raises:
            Quarantined: it could not (BOX-2).
        """
        return self._coded("encode", layout, data)

    def _coded(self, task: str, layout: Layout, data: Buffer) -> tuple[str, bytes]:
        head = json.dumps({**asdict(layout), "blank": False, "task": task}).encode()
        try:
            told, value = self._ask((HEAD.pack(len(head), len(data)), head, data))
            return told["syntax"], value
        except (OSError, ValueError, KeyError):
            raise Quarantined(Reason.DECODE) from None

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _ask(self, pieces: tuple[Buffer, ...]) -> tuple[dict[str, Any], bytes]:
        """Raises OSError where the child died, hangs or answers no such thing."""
        child = self._child = self._child or start(
            pixels_child.__name__, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child has no pipes")
        until = time.monotonic() + _WAIT
        try:
            for piece in pieces:
                child.stdin.write(piece)
            child.stdin.flush()
            source = child.stdout.fileno()
            length, size = HEAD.unpack(_read(source, HEAD.size, until))
            told = json.loads(_read(source, length, until))
            return told, _read(source, size, until)
        except (OSError, ValueError):
            self.close()
            raise


def _read(source: int, size: int, until: float) -> bytes:
    """So many bytes of a pipe, or OSError."""
    found = bytearray()
    while len(found) < size:
        left = max(0.0, until - time.monotonic())
        piece = b""
        if select.select([source], [], [], left)[0]:
            piece = os.read(source, min(_CHUNK, size - len(found)))
        if not piece:
            raise OSError
        found += piece
    return bytes(found)
