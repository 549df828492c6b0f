"""What the coordinator tells beside the trees: figures, verdicts, parameters; pure readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """Facts of the unit `bundle`: they enter its key and its record."""

    measured: Mapping[str, Json] = field(default_factory=dict)
    """Stage → what was measured while it ran; `assess` has `looks`, those at the test split."""
    checks: Sequence[Json] = ()
    """A row a check of every gate, in the order of the chain, with its `stage`."""
    parameters: Json = field(default_factory=dict)
    """Every resolved section of the parameters."""


_TOLD = {
    ("assess", "looks"),
    ("train", "seconds"),
    ("train", "cpu_seconds"),
    ("train", "peak_memory_mib"),
}
"""What the report says elsewhere."""


def looks(facts: Facts) -> int | None:
    """How many candidates were held against the locked test split; None if nobody counted."""
    count = facts.measured.get("assess", {}).get("looks")
    return None if count is None else int(count)


def looks_text(facts: Facts) -> str:
    """How often the test split was looked at, as a sentence."""
    count = looks(facts)
    if count is None:
        return "The looks at the locked test split stand in the ledger."
    return (
        f"The locked test split was looked at {count} time{'' if count == 1 else 's'}, "
        "this look included; the ledger counts each."
    )


def interval_name(facts: Facts) -> str:
    """What a confidence interval is called: "95 % CI"."""
    share = facts.parameters.get("assess", {}).get("confidence")
    return "CI" if share is None else f"{100 * share:g} % CI"


def latencies(facts: Facts) -> dict[str, float]:
    """Runtime → median seconds of one forward pass, the fastest first."""
    found = facts.measured.get("optimize", {}).get("latency_s", {})
    medians = {name: float(figures["median"]) for name, figures in found.items()}
    return dict(sorted(medians.items(), key=lambda item: (item[1], item[0])))


def costs(facts: Facts) -> list[Json]:
    """What each part of the comparison took: seconds, and seconds of processors."""
    found = facts.measured.get("train", {})
    seconds, processors = found.get("seconds", {}), found.get("cpu_seconds", {})
    return [
        {"part": part, "seconds": value, "cpu_seconds": processors.get(part)}
        for part, value in seconds.items()
    ]


def timings(facts: Facts) -> list[Json]:
    """Every other figure that a stage measured."""
    return [
        {"stage": stage, "what": what, "value": value}
        for stage, found in facts.measured.items()
        for name, figures in found.items()
        if (stage, name) not in _TOLD
        for what, value in _leaves(figures, name)
    ]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path} {name}".strip())
    elif isinstance(value, list | tuple):
        yield path, " × ".join(str(item) for item in value)
    else:
        yield path, f"{value:.4g}" if isinstance(value, float) else str(value)
