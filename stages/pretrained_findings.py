"""What a source was trained on that this project does otherwise: findings, never refusals.

Rules:

- WTS-9  A source whose dimensions, channels, spacing or normalization are not the project's is a
         finding that shows both, and so is a source used by a written justification.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from stages.params import Volume
from stages.pretrained_license import permits
from stages.pretrained_params import Preprocessing, PretrainedSource
from stages.stage import Check, Verdict

SPACING_TOLERANCE = 0.1
"""Share by which two spacings may differ."""


def preprocessing_findings(
    name: str,
    source: PretrainedSource,
    volume: Volume,
    *,
    channels: int = 1,
    dims: int = 3,
    rule: str = "WTS-9",
) -> tuple[Check, ...]:
    """A finding for each way in which the network's input differs from the source's.

    Args:
        name: of the entry.
        source: the entry.
        volume: how this project prepares its images.
        channels: of the network's input.
        dims: spatial dimensions of the network's input.
        rule: that the checks are to name.
    """
    was = source.preprocessing
    pairs = (
        ("dimensions", f"{was.dims}-D", f"{dims}-D", was.dims == dims),
        ("channels", str(was.channels), str(channels), was.channels == channels),
        ("normalization", _normalization(was), _ours(volume), _normalization(was) == _ours(volume)),
        ("spacing", _mm(was.spacing_mm), _mm(volume.spacing_mm), _near(was, volume)),
    )
    return tuple(
        Check(
            rule=rule,
            figure=f"{name}: {what} of the source: {theirs}",
            limit=f"{what} here: {ours}",
            verdict=Verdict.FINDINGS,
            remedy=_REMEDY[what],
        )
        for what, theirs, ours, same in pairs
        if not same
    )


def license_findings(
    name: str, source: PretrainedSource, allowed: Collection[str], *, rule: str = "WTS-3"
) -> tuple[Check, ...]:
    """A finding for an entry whose use rests on its justification."""
    if permits(source.license, allowed):
        return ()
    return (
        Check(
            rule=rule,
            figure=f"{name}: license {source.license}, by justification: "
            f"{source.license_justification}",
            limit=f"{len(set(allowed))} licenses (`weights.licenses`)",
            verdict=Verdict.FINDINGS,
            remedy="Let whoever is responsible for licenses confirm the justification.",
        ),
    )


_REMEDY = {
    "dimensions": "Take weights of the same dimensions, or declare `inflate`.",
    "channels": "Take weights of as many channels, or declare `adapt_channels`.",
    "normalization": "Normalize as the source does (`volume.window`), or compare with `scratch`.",
    "spacing": "Resample as the source does (`volume.spacing_mm`), or compare with `scratch`.",
}


def _normalization(was: Preprocessing) -> str:
    if was.window is not None:
        return f"window {was.window[0]:g} to {was.window[1]:g}"
    if was.mean is not None and was.std is not None:
        return f"standardize, mean {_numbers(was.mean)}, std {_numbers(was.std)}"
    return was.normalization


def _ours(volume: Volume) -> str:
    if volume.window is None:
        return "zscore"
    return f"window {volume.window[0]:g} to {volume.window[1]:g}"


def _near(was: Preprocessing, volume: Volume) -> bool:
    """Whether spacings agree; a source of any spacing agrees with all."""
    if was.spacing_mm is None:
        return True
    if volume.spacing_mm is None:
        return False
    ours = volume.spacing_mm[-len(was.spacing_mm) :]
    return all(
        abs(a - b) <= SPACING_TOLERANCE * a for a, b in zip(was.spacing_mm, ours, strict=True)
    )


def _mm(spacing: tuple[float, ...] | None) -> str:
    return "any" if spacing is None else f"{_numbers(spacing)} mm"


def _numbers(values: Iterator[float] | tuple[float, ...]) -> str:
    return " × ".join(f"{value:g}" for value in values)
