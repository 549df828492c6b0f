"""The report's content: what a reviewer asks of a release, in the order in which they ask it.

Decides what is shown; draws by `charts` and `overlays`, and is rendered by `document`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from stages.artifact import Digest
from stages.package import report_classes, report_lesions
from stages.package.document import Document, Figure, Section, Tile, show, table
from stages.package.measured import Facts, interval_name, looks, timings
from stages.package.params import Parameters
from stages.package.report_cohort import agreement, cohort
from stages.package.report_model import interval, targets, test
from stages.package.report_training import variants
from stages.package.results import Results
from stages.pretrained_soup import SOUP_HEADS, soup_row

_MADE = (
    "This release was made by Kette from the trees below; each is named by the SHA-256 of its "
    "manifest, and each has its signed record in the evidence beside the archive."
)


def compose(
    params: Parameters,
    results: Results,
    facts: Facts,
    *,
    pictures: Sequence[Figure],
    inputs: Mapping[str, Digest],
    models: Mapping[str, Digest],
) -> Document:
    """The whole report as data.

    Args:
        params: all sections that `package` takes.
        results: the tables of the earlier stages.
        facts: what was measured and decided while the chain ran.
        pictures: overlays of test series.
        inputs: label → digest of every tree that the release is made of.
        models: member → SHA-256 of every file of the model.
    """
    package = params.package
    return Document(
        title=package.title,
        subtitle=f"{params.project.name} {package.version}",
        lead=package.intended_use,
        tiles=_tiles(results, facts),
        sections=(
            cohort(results),
            agreement(results),
            variants(results, facts),
            *_tested(results, facts, pictures),
            targets(results, facts),
            _gates(facts),
            _provenance(params, results, facts, inputs, models),
        ),
        footer=f"{package.copyright} · {package.authors}",
    )


def _tested(results: Results, facts: Facts, pictures: Sequence[Figure]) -> Iterator[Section]:
    """Results on the test split, of what the task asks."""
    if results.metrics:
        yield test(results, facts)
        yield Section(
            "overlays",
            "Results on test subjects",
            ("From the worst to the best mean Dice, spread evenly over the ranks.",),
            figures=tuple(pictures),
        )
    if results.froc:
        yield report_lesions.test(results, facts)
    if results.class_metrics:
        yield report_classes.test(results, facts)


def _tiles(results: Results, facts: Facts) -> tuple[Tile, ...]:
    confidence = interval_name(facts)
    dice = tuple(
        Tile(
            f"Dice, {r['structure']}",
            show(r["dice_mean"]),
            f"{confidence} {interval(r)}, {r['n']} subjects",
        )
        for r in results.metrics
        if r["group"] == "all"
    )
    counts = Counter(row["split"] for row in results.splits)
    subjects = Tile("Subjects", str(len(results.splits)), f"{counts['test']} in the locked test")
    count = looks(facts)
    seen = Tile("Looks at the test split", show(count), "counted in the ledger")
    chosen = Tile("Variant", str(results.candidate["variant"]), "chosen on the validation split")
    return (*dice, *report_classes.tiles(results, facts), chosen, subjects, seen)


def _gates(facts: Facts) -> Section:
    checks = list(facts.checks)
    heads = {
        "stage": "Stage",
        "rule": "Rule",
        "figure": "Figure",
        "limit": "Limit",
        "verdict": "Verdict",
        "remedy": "What to do",
    }
    text = "Limits are declared in the parameters before a run; a refused gate makes no release."
    return Section(
        "gates",
        "Gates",
        (text,) if checks else (text, "Verdicts stand in the records of the ledger."),
        tables=(table("Checks of every stage", checks, heads),) if checks else (),
    )


def _provenance(
    params: Parameters,
    results: Results,
    facts: Facts,
    inputs: Mapping[str, Digest],
    models: Mapping[str, Digest],
) -> Section:
    digests = [{"name": name, "digest": digest} for name, digest in sorted(inputs.items())]
    members = [{"name": name, "digest": digest} for name, digest in sorted(models.items())]
    spent = timings(facts)
    return Section(
        "provenance",
        "Provenance",
        (
            _MADE,
            f"Weights: SHA-256 {results.candidate['weights_sha256']}.",
            f"Reference date: {params.project.epoch.isoformat()}, the project's own.",
        ),
        tables=(
            table("Inputs", digests, {"name": "Tree", "digest": "SHA-256 of the manifest"}),
            table("Models", members, {"name": "Member of the archive", "digest": "SHA-256"}),
            *(
                (table("Pre-trained weights (SOUP)", soup, SOUP_HEADS),)
                if (soup := [soup_row(*pair) for pair in sorted(params.weights.sources.items())])
                else ()
            ),
            *(
                (table("Measured", spent, {"stage": "Stage", "what": "What", "value": "Value"}),)
                if spent
                else ()
            ),
        ),
    )
