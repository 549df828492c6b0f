"""How much of a pre-trained file is taken on: beyond these it is refused before it costs more."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """Sizes beyond which a file of weights is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file_bytes: Count = 4 * 2**30
    unpacked_bytes: Count = 4 * 2**30
    """Of all tensors, each laid out in full, and of a member of a bundle."""
    ratio: Count = 50
    """Unpacked bytes to packed bytes of a bundle's member."""
    members: Count = 100_000
    """Of a ZIP archive."""
    tensors: Count = 50_000
    opcodes: Count = 5_000_000
    """Of one pickle."""
    pickle_bytes: Count = 64 * 2**20
    depth: Count = 64
    """Containers within containers."""
    seconds: Count = 600
    """Of conversion."""
