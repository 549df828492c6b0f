"""The report on what variants start from: tensors taken and new, and how private a training is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stages.package.document import Table, table
from stages.package.results import Results

_NAMED = 6
"""Tensors of a list that are named; of more, the number is told."""
_RANDOM = "random"


def transfer(results: Results) -> tuple[tuple[str, ...], tuple[Table, ...]]:
    """Texts and tables; none for what no finalist does."""
    parts = (_starts(results), _sources(results), _private(results))
    return (
        tuple(text for texts, _ in parts for text in texts),
        tuple(made for _, tables in parts for made in tables),
    )


Part = tuple[Sequence[str], Sequence[Table]]


def _starts(results: Results) -> Part:
    rows = [
        {
            "variant": name,
            "start": found["start"],
            "new": "all" if found["start"] == _RANDOM else _names(found["new_tensors"]),
            "unused": _names(found["unused_tensors"]),
        }
        for name, found in results.trained.items()
    ]
    heads = {
        "variant": "Variant",
        "start": "Starts from",
        "new": "New tensors of the network",
        "unused": "Unused tensors of the start",
    }
    if all(row["start"] == _RANDOM for row in rows):
        return (), ()
    return (), (table("Where variants start", rows, heads),)


def _sources(results: Results) -> Part:
    """Of each pre-trained source, what the network took, part by part."""
    if not results.sources:
        return (), ()
    text = (
        "Of pre-trained weights the network took the tensors whose names and shapes fit; the whole "
        "lists are in the tree of the training, below weights/."
    )
    counts, places = [], []
    for name, source in results.sources.items():
        found = source["match"]
        counts.append(
            {
                "source": name,
                "kind": source["import"]["kind"],
                "taken": len(found["taken"]),
                "changed": sum(bool(row["changes"]) for row in found["taken"]),
                "missing": len(found["missing"]),
                "mismatched": _names([row["target"] for row in found["mismatched"]]),
                "skipped": _names(found["skipped"]),
            }
        )
        taken = Counter(_part(row["target"]) for row in found["taken"])
        new = Counter(map(_part, found["missing"]))
        places += [
            {"source": name, "part": part, "taken": taken[part], "new": new[part]}
            for part in sorted(taken | new)
        ]
    heads = {
        "source": "Source",
        "kind": "Read as",
        "taken": "Tensors taken",
        "changed": "of them changed to fit",
        "missing": "New in the network",
        "mismatched": "Of another shape",
        "skipped": "Left in the source",
    }
    by_part = {"source": "Source", "part": "Part of the network", "taken": "Taken", "new": "New"}
    return (text,), (
        table("Pre-trained weights: what was taken", counts, heads),
        table("Pre-trained weights: tensors by part of the network", places, by_part),
    )


def _private(results: Results) -> Part:
    rows = [
        {"variant": name, **found["privacy"]}
        for name, found in results.trained.items()
        if "privacy" in found
    ]
    if not rows:
        return (), ()
    text = (
        "Private variants bound what their weights tell of one training series (DP-SGD). The noise "
        "comes from numerics.seed, so that the release can be rebuilt: the bound holds towards "
        "those who do not have the parameters. It covers the gradients of one training: neither "
        "the validation series, by which epoch and variant are chosen, nor what weights that a "
        "variant starts from know of the same series."
    )
    heads = {
        "variant": "Variant",
        "epsilon": "Epsilon",
        "delta": "Delta",
        "clip_norm": "Clipping norm",
        "noise_multiplier": "Noise multiplier",
        "steps": "Steps",
        "unit": "Unit of privacy",
        "accountant": "Accountant",
    }
    return (text,), (table("Private training", rows, heads),)


def _part(tensor: str) -> str:
    return tensor.partition(".")[0]


def _names(tensors: Sequence[str]) -> str:
    if len(tensors) > _NAMED:
        return f"{len(tensors)} tensors"
    return ", ".join(tensors)
