"""From a file of the registry to safetensors, in a process that is trusted with nothing.

Rules:

- WTS-10 to WTS-12 (`pretrained_child.py`): digest first, nothing but tensors, the same bytes again.
- WTS-13 A file that is refused, or whose child dies, leaves nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from pydantic import BaseModel, ConfigDict

from audit.errors import Refused
from stages import pretrained_child
from stages.artifact import Digest, digest_file
from stages.box import start
from stages.boxed import BROKE_OUT
from stages.pretrained_limits import Limits
from stages.pretrained_params import PretrainedSource
from stages.pretrained_values import refused

_REPORT: Final = 32 * 2**20
"""Bytes of a child's report."""
_START: Final = 120
"""Seconds for a child to get ready, of the clock, on a busy machine."""
_ENDS: Final[Mapping[int, str]] = {
    BROKE_OUT: "tried to do what reading weights never needs; nothing was done",
    -signal.SIGXCPU: "took more processor time than the limit",
    -signal.SIGXFSZ: "has more tensors than the limit lets through",
}
"""Exit code of a child → what its file is refused for."""


class Tensor(BaseModel):
    """One tensor, as its file names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    """As safetensors writes it: `F32`."""
    shape: tuple[int, ...]


class Import(BaseModel):
    """What came of a source, for the record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_sha256: Digest
    kind: str
    """`safetensors`, `torch zip`, `torch legacy`; with ` in bundle` for a bundle's member."""
    archive_key: str
    sha256: Digest
    """Of the safetensors file that was made."""
    tensors: tuple[Tensor, ...]
    """Sorted by name."""
    left: tuple[str, ...]
    """Names beside the tensors that are none."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape, as `pretrained_match.match` takes them."""
        return {tensor.name: tensor.shape for tensor in self.tensors}


def convert(
    path: Path, source: PretrainedSource, out: Path, limits: Limits | None = None
) -> Import:
    """Read a source's file in a box and write its tensors as safetensors.

    Args:
        path: the source's bytes, of `pretrained_fetch.fetch`.
        source: the entry.
        out: the file to write; it must not be there.
        limits: of sizes and time; default: `Limits()`.

    Raises:
        Refused: the file is not that of the entry, holds more or other than tensors, exceeds a
            limit, or did what a file of weights never does.
    """
    limits = limits or Limits()
    with out.open("xb") as tensors:
        try:
            with path.open("rb") as file, TemporaryFile() as report:
                said = _ask(file, tensors, report, source, limits)
            return Import(
                source_sha256=source.sha256,
                kind=said["kind"],
                archive_key=source.archive_key,
                sha256=digest_file(out),
                tensors=tensors_of(out),
                left=tuple(said["left"]),
            )
        except BaseException:
            out.unlink()
            raise


def tensors_of(path: Path) -> tuple[Tensor, ...]:
    """The tensors that a safetensors file of ours says it holds."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as opened:
        slices = {name: opened.get_slice(name) for name in sorted(opened.keys())}
        return tuple(
            Tensor(name=name, dtype=part.get_dtype(), shape=tuple(part.get_shape()))
            for name, part in slices.items()
        )


def _ask(
    file: IO[bytes],
    tensors: IO[bytes],
    report: IO[bytes],
    source: PretrainedSource,
    limits: Limits,
) -> Mapping[str, Any]:
    """Let a child convert the file; what it said."""
    size = os.fstat(file.fileno()).st_size
    if size > limits.file_bytes:
        raise refused(f"has more than {limits.file_bytes} bytes")
    request = pretrained_child.Request(
        sha256=source.sha256,
        archive_key=source.archive_key,
        size=size,
        tensors=tensors.fileno(),
        limits=limits,
    )
    child = start(
        pretrained_child.__name__,
        request.model_dump_json(),
        stdin=file,
        stdout=report,
        pass_fds=(tensors.fileno(),),
    )
    try:
        code = child.wait(_START + limits.seconds)
    except subprocess.TimeoutExpired:
        raise refused(f"took more than {limits.seconds} s to read") from None
    finally:
        child.kill()
        child.wait()
    if code != 0:
        raise refused(_ENDS.get(code, "ended the process that read it, or was too large for it"))
    report.seek(0)
    said: Mapping[str, Any] = json.loads(report.read(_REPORT))
    if "refused" in said:
        raise Refused(*said["refused"])
    return said
