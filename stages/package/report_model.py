"""The report on the model: how well it does, and how equal its targets are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.package import charts
from stages.package.document import SVG, Figure, Section, table
from stages.package.measured import Facts, interval_name, latencies, looks_text
from stages.package.results import Results


def test(results: Results, facts: Facts) -> Section:
    rows = [
        {
            **row,
            "group": charts.name_of(row["group"]),
            "interval": interval(row),
        }
        for row in results.metrics
    ]
    heads = {
        "group": "Group",
        "structure": "Structure",
        "n": "Subjects",
        "dice_mean": "Mean Dice",
        "interval": interval_name(facts),
        "hd95_mm_mean": "HD95 (mm)",
        "nsd_mean": "NSD",
    }
    picture = Figure(
        SVG,
        charts.results(results.metrics, results.scores),
        "Dice by structure, for all test series and for each vendor: mean with confidence "
        "interval, a faint dot a series.",
        f"Dice on the locked test split: mean (diamond), {interval_name(facts)} by bootstrap "
        "over subjects (line), a dot a series.",
    )
    return Section(
        "test",
        "Results on the locked test split",
        (looks_text(facts),),
        tables=(table("All series, then by vendor", rows, heads),),
        figures=(picture,),
    )


def targets(results: Results, facts: Facts) -> Section:
    heads = {
        "target": "Target",
        "precision": "Precision",
        "ran": "Ran here",
        "max_abs_difference": "Largest difference",
        "dice_to_reference": "Dice to the reference",
        "reason": "Note",
    }
    seconds = latencies(facts)
    picture = Figure(
        SVG,
        charts.latency(seconds),
        "Seconds on each target: " + ", ".join(f"{k} {v:.3g} s" for k, v in seconds.items()),
        f"Latency: median seconds of one inference{_conditions(facts)}, measured when the "
        "models were made.",
    )
    return Section(
        "targets",
        "Targets: equivalence and latency",
        ("Each target's answers are compared with those of the network as it was trained.",),
        tables=(table("Equivalence to the trained network", results.equivalence, heads),),
        figures=(picture,) if seconds else (),
    )


def interval(row: Mapping[str, Any]) -> str:
    if row["ci_low"] is None or row["ci_high"] is None:
        return "–"
    return f"{row['ci_low']:.3f} to {row['ci_high']:.3f}"


def _conditions(facts: Facts) -> str:
    found = facts.measured.get("optimize", {})
    if not {"patch", "threads"} <= found.keys():
        return ""
    sides = " × ".join(str(side) for side in found["patch"])
    return f" of {sides} voxels, threads: {found['threads']}"
