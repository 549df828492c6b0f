"""Ways of transfer: each a row of this table, to which a new way is added.

A way says where the weights start and which of them are trained; everything else (data, order,
augmentation, epochs, loss) is the same for all, so that a difference in the result is the way's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Variant = Literal["scratch", "frozen", "finetuned"]


@dataclass(frozen=True)
class Way:
    start: Literal["random", "pretrained"]
    """Where the backbone's weights come from; the head is new in every way."""
    trains: Literal["all", "tail"]
    """`tail`: the new head and the last `train.unfrozen_layers` layers before the output."""


WAYS: Mapping[str, Way] = {
    "scratch": Way(start="random", trains="all"),
    "frozen": Way(start="pretrained", trains="tail"),
    "finetuned": Way(start="pretrained", trains="all"),
}
