"""The report on the data: who is in the cohort, and how far its readers agree.

Rules:

- QID-1  How far subjects can be told apart is shown in counts alone: how many combinations of what
         the dataset says of them, the smallest group, the subjects alone in theirs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from stages.package import charts, report_classes
from stages.package.document import SVG, Figure, Section, Table, table
from stages.package.results import Results, Rows

_QUASI = {
    "sex": "sex",
    "age_band": "age band",
    "vendor": "vendor",
    "manufacturer": "vendor",
    "model": "device model",
}
"""Columns of `series.parquet` by which a subject could be told apart, as they add up."""
_IMAGES = ("image", "picture")
_SCORES = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "nsd": "NSD"}


def cohort(results: Results) -> Section:
    order = ("train", "validation", "test", "unlabeled", "excluded")
    vendors = sorted({row["vendor"] or "" for row in results.splits})
    counted = Counter((row["split"], row["vendor"] or "") for row in results.splits)
    scans = Counter(row["subject"] for row in results.series if row["kind"] in _IMAGES)
    rows: list[dict[str, Any]] = [
        {
            "split": split,
            "subjects": sum(counted[split, vendor] for vendor in vendors),
            "series": sum(scans[r["subject"]] for r in results.splits if r["split"] == split),
            **{f"vendor {vendor}": counted[split, vendor] for vendor in vendors},
        }
        for split in order
    ]
    heads = {"split": "Split", "subjects": "Subjects", "series": "Image series"} | {
        f"vendor {vendor}": vendor or "vendor unknown" for vendor in vendors
    }
    reasons = Counter(row["reason"] for row in results.quarantine)
    excluded = Counter(row["reason"] for row in results.splits if row["split"] == "excluded")
    return Section(
        "cohort",
        "Cohort",
        ("A subject belongs to one split with all of its studies.",),
        tables=(
            table("Subjects by split and vendor", rows, heads),
            *report_classes.cohort(results),
            _counts("Quarantined at ingestion", "Files", reasons),
            _counts("Excluded from the dataset", "Subjects", excluded),
            *_alike(results.series),
        ),
    )


def agreement(results: Results) -> Section:
    pairs: defaultdict[tuple[str, str, str], Rows] = defaultdict(list)
    for row in results.agreement:
        pairs[row["structure"], row["reader_a"], row["reader_b"]].append(row)
    rows = [
        {
            "structure": structure,
            "readers": f"{a} – {b}",
            "n": len(own),
            **{name: _mean(row[name] for row in own) for name in ("dice", "hd95_mm", "nsd")},
        }
        for (structure, a, b), own in sorted(pairs.items())
    ]
    heads = {"structure": "Structure", "readers": "Readers", "n": "Series"} | _SCORES
    figures = (
        (
            Figure(
                SVG,
                charts.agreement(results.agreement),
                "Dice between each pair of readers, a dot a series; the bar is the median.",
                "Agreement between readers: a dot a series, the bar is the median.",
            ),
        )
        if results.agreement
        else ()
    )
    return Section(
        "annotations",
        "Agreement of the readers",
        ("The consensus of the readers is what the network learns from and is tested against.",),
        tables=(
            table("Mean agreement by structure and pair of readers", rows, heads),
            _counts(
                "Series in the review queue", "Series", Counter(r["reason"] for r in results.queue)
            ),
        ),
        figures=figures,
    )


def _alike(series: Rows) -> tuple[Table, ...]:
    """How many subjects share what the dataset tells of them; no table where it tells nothing.

    A subject's group is all subjects of whom the same values stand in the tables, over all of its
    image series. Only counts are shown: neither a subject nor a value.
    """
    columns = series[0].keys() & _QUASI.keys() if series else set()
    told = [name for name in _QUASI if name in columns]
    if not told:
        return ()
    rows = [
        _anonymity(", ".join(_QUASI[name] for name in told[:size]), _groups(series, told[:size]))
        for size in range(1, len(told) + 1)
    ]
    heads = {
        "what": "Known of a subject",
        "combinations": "Combinations",
        "k": "Smallest group (k)",
        "alone": "Subjects alone in their group",
        "subjects": "Subjects",
    }
    return (table("Subjects who can be told apart by what the dataset says of them", rows, heads),)


def _groups(series: Rows, names: Sequence[str]) -> Counter[tuple[tuple[str, ...], ...]]:
    """Combination of values → subjects."""
    found: defaultdict[str, dict[str, set[str]]] = defaultdict(lambda: {n: set() for n in names})
    for row in series:
        if row["kind"] in _IMAGES:
            for name in names:
                found[row["subject"]][name].add(row[name] or "")
    return Counter(tuple(tuple(sorted(own[n])) for n in names) for own in found.values())


def _anonymity(what: str, groups: Counter[Any]) -> dict[str, Any]:
    return {
        "what": what,
        "combinations": len(groups),
        "k": min(groups.values(), default=0),
        "alone": sum(size == 1 for size in groups.values()),
        "subjects": sum(groups.values()),
    }


def _counts(caption: str, what: str, counts: Counter[str]) -> Table:
    rows = [{"reason": reason, "n": n} for reason, n in sorted(counts.items())]
    return table(caption, rows, {"reason": "Reason", "n": what})


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None
