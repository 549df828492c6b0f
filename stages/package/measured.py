"""What was measured while the chain ran, as the coordinator hands it over: pure readings.

The coordinator gives one dictionary a stage: what the stage measured, with its `gate`; `assess`
has the counted `looks` at the test split; `parameters` holds all sections of `params.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]


def looks(measured: Mapping[str, Json]) -> int | None:
    """How many candidates were held against the locked test split; None if nobody counted."""
    count = measured.get("assess", {}).get("looks")
    return None if count is None else int(count)


def interval_name(measured: Mapping[str, Json]) -> str:
    """What a confidence interval is called: "95 % CI"."""
    share = measured.get("parameters", {}).get("assess", {}).get("confidence")
    return "CI" if share is None else f"{100 * share:g} % CI"


def latencies(measured: Mapping[str, Json]) -> dict[str, float]:
    """Runtime → median seconds of one forward pass, the fastest first."""
    found = measured.get("optimize", {}).get("latency_s", {})
    medians = {name: float(figures["median"]) for name, figures in found.items()}
    return dict(sorted(medians.items(), key=lambda item: (item[1], item[0])))


def gates(measured: Mapping[str, Json]) -> list[Json]:
    """One row a check of every stage, in the order of the chain."""
    return [
        {"stage": stage, **check}
        for stage, found in measured.items()
        for check in found.get("gate", {}).get("checks", ())
    ]


def timings(measured: Mapping[str, Json]) -> list[Json]:
    """Every other figure that a stage measured."""
    return [
        {"stage": stage, "what": what, "value": value}
        for stage, found in measured.items()
        if stage != "parameters"
        for what, value in _leaves(found)
        if what.partition(" ")[0] not in ("gate", "looks")
    ]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path} {name}".strip())
    elif isinstance(value, list | tuple):
        yield path, " × ".join(str(item) for item in value)
    else:
        yield path, f"{value:.4g}" if isinstance(value, float) else str(value)
