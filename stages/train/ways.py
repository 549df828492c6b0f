"""Ways of transfer: a variant is a row of choices, and a preset is a row that has a name.

Everything that a variant does not choose (data, order, augmentation, epochs, loss) is the same for
all, so that a difference in the result is the way's. A project lists presets by name, or makes a
variant of its own, `like` a preset or from nothing; a list says by its order which is simpler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import Field, model_validator

from stages.params import Name, Params

SELF_SUPERVISED: Final = ("masked", "restoration", "contrastive")
"""Starts that are made on the cohort's own images, without a label."""
RANDOM: Final = "random"
PRETRAINED: Final = "pretrained"
"""The start that `train.pretrained` names: one word for a whole list of presets."""


class Privacy(Params):
    """DP-SGD (Abadi et al., CCS 2016): what the weights may tell of one training case."""

    epsilon: Annotated[float, Field(gt=0)] = 8.0
    """Bound of the privacy loss over the whole training; the noise follows from it."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Probability with which the bound may fail; below one in the number of training cases."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of one case's gradient."""


class Variant(Params):
    """One way of transfer."""

    name: Name
    start: Name = RANDOM
    """Where the weights come from: `random`; a self-supervised method (`masked`, `restoration`,
    `contrastive`); a source of `weights`; or `pretrained`, whatever `train.pretrained` names."""
    head: Literal["new", "kept"] = "new"
    """The output layer is new; only zero-shot use keeps the source's."""
    trains: Literal["all", "head", "tail", "adapters", "nothing"] = "all"
    """Which weights change: every one; the new head; the last layers (`layers`); low-rank
    adapters beside frozen layers, and the head (LoRA, Hu et al. 2021); none."""
    layers: Annotated[int, Field(ge=1)] | None = None
    """Of `tail`: layers before the output, its own included; null: `train.unfrozen_layers`."""
    rank: Annotated[int, Field(ge=1, le=256)] = 4
    """Of adapters."""
    schedule: Literal["constant", "gradual", "head first"] = "constant"
    """`gradual`: from the head towards the input a further block is unfrozen at equal intervals
    (Howard and Ruder 2018). `head first`: the head alone for the first quarter, then everything
    (linear probe then full, Kumar et al. 2022)."""
    rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate from each block to the one before it (discriminative rates)."""
    unlabeled: Literal["none", "mean teacher"] = "none"
    """What unlabeled images add: agreement with a mean teacher (Tarvainen and Valpola 2017)."""
    adapt: Literal["none", "statistics", "correlation", "adversarial", "spectrum", "histogram"] = (
        "none"
    )
    """Adaptation to the vendors of `train.adaptation`: AdaBN, deep CORAL, gradient reversal,
    Fourier amplitudes, histogram matching."""
    privacy: Privacy | None = None

    @model_validator(mode="after")
    def _one_look(self) -> Self:
        if self.adapt != "none" and self.unlabeled != "none":
            raise ValueError(f"{self.name}: adapts and has a teacher; make two variants of it")
        if self.privacy is not None and (self.adapt != "none" or self.unlabeled != "none"):
            raise ValueError(
                f"{self.name}: `privacy` covers labeled series alone; it goes with neither `adapt` "
                "nor `unlabeled`"
            )
        return self


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "scratch": {},
    "zero-shot": {"start": PRETRAINED, "head": "kept", "trains": "nothing"},
    "probe": {"start": PRETRAINED, "trains": "head"},
    "frozen": {"start": PRETRAINED, "trains": "tail"},
    "lora": {"start": PRETRAINED, "trains": "adapters"},
    "gradual": {"start": PRETRAINED, "schedule": "gradual"},
    "discriminative": {"start": PRETRAINED, "rate_decay": 0.7},
    "probe-then-full": {"start": PRETRAINED, "schedule": "head first"},
    "finetuned": {"start": PRETRAINED},
    "masked": {"start": "masked"},
    "restoration": {"start": "restoration"},
    "contrastive": {"start": "contrastive"},
    "mean-teacher": {"unlabeled": "mean teacher"},
    "pretrained-mean-teacher": {"start": PRETRAINED, "unlabeled": "mean teacher"},
    "statistics": {"adapt": "statistics"},
    "correlation": {"adapt": "correlation"},
    "adversarial": {"adapt": "adversarial"},
    "spectrum": {"adapt": "spectrum"},
    "histogram": {"adapt": "histogram"},
    "private": {"start": PRETRAINED, "trains": "head", "privacy": Privacy()},
}
"""Name → what the variant of that name chooses beside the defaults."""


def variant(entry: object) -> object:
    """An entry of `train.variants` as a variant: a preset's name, or a mapping (`like` a preset).

    What is neither is given back for the model to refuse.

    Raises:
        ValueError: there is no such preset.
    """
    if isinstance(entry, str):
        return Variant(name=entry, **_preset(entry))
    if isinstance(entry, Mapping):
        own = dict(cast("Mapping[str, Any]", entry))
        like = own.pop("like", None)
        return (_preset(like) if isinstance(like, str) else {}) | own
    return entry


def _preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise ValueError(f"{name!r} is no way of transfer: one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])
