"""The report on the data: who is in the cohort, and how far its readers agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from stages.package import charts
from stages.package.document import SVG, Figure, Section, Table, table
from stages.package.results import Results, Rows

_SCORES = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "nsd": "NSD"}


def cohort(results: Results) -> Section:
    order = ("train", "validation", "test", "unlabeled", "excluded")
    vendors = sorted({row["vendor"] or "" for row in results.splits})
    counted = Counter((row["split"], row["vendor"] or "") for row in results.splits)
    scans = Counter(row["subject"] for row in results.series if row["kind"] == "image")
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
            _counts("Quarantined at ingestion", "Files", reasons),
            _counts("Excluded from the dataset", "Subjects", excluded),
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


def _counts(caption: str, what: str, counts: Counter[str]) -> Table:
    rows = [{"reason": reason, "n": n} for reason, n in sorted(counts.items())]
    return table(caption, rows, {"reason": "Reason", "n": what})


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None
