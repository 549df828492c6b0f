"""dataset: pseudonymized series and checked consensus → one cohort, parted by subject.

The unit `cohort` is the project's `data/`: series and consensus by subject, the tables of the
stages before, and `splits.parquet`. `publish.py` puts it into the project and pins it with DVC.

Rules:

- DAT-1  A subject with all its studies stands in exactly one split; every ingested subject stands
         in one, and one that takes no part is `excluded` with its reason.
- DAT-2  A subject's split follows from its pseudonym and the seed, not from the other subjects
         (`splits.py` says where a vendor's minimum bends this, and by how much).
         With classes, the subjects of one vendor and class are parted by themselves if they are
         three or more.
- DAT-3  A vendor with three or more labeled subjects stands in train, validation and test.
- DAT-4  No image stands in two subjects: of subjects that share the pixels of an instance one is
         kept, labeled ones first; the others are excluded.
- DAT-5  A subject without annotations and with a readable volume (or picture, where pictures are
         cases) is `unlabeled` (for pre-training); one whose annotations gave neither a consensus
         nor a class is excluded.
- DAT-6  Gate: each structure and each class of the task occurs in train, validation and test.
- DAT-7  Gate: the test split holds at least `dataset.min_test_subjects` subjects.
- DAT-8  Series, consensus and tables are the earlier stages' files themselves, byte for byte and
         kept once on the disk.

In: `ingest/<subject>`, `ingest`, `annotate/<subject>`, `annotate`. Out: unit `cohort`; merged
`summary.json`, counts per split, vendor and structure.
"""

from __future__ import annotations

from pathlib import Path

from audit.canonical import canonical_json
from stages.dataset import summary
from stages.dataset.links import link, link_tree
from stages.dataset.params import Parameters
from stages.dataset.splits import Split, assign, place
from stages.dataset.standing import Standing, standings
from stages.stage import MergeContext, Outcome, Plan, PlanContext, RunContext, Stage, Unit

UNIT = "cohort"
TABLES = {
    "series.parquet": ("ingest", "series.parquet"),
    "ingest.parquet": ("ingest", "instances.parquet"),
    "quarantine.parquet": ("ingest", "quarantine.parquet"),
    "agreement.parquet": ("annotate", "agreement.parquet"),
    "labels.parquet": ("annotate", "labels.parquet"),
    "class_labels.parquet": ("ingest", "class_labels.parquet"),
    "classes.parquet": ("annotate", "classes.parquet"),
    "class_agreement.parquet": ("annotate", "class_agreement.parquet"),
}
"""Table in `data/` → the stage whose merged tree holds it, and its name there."""
COLUMNS = {"subject": "string", "split": "string", "reason": "string", "vendor": "string"}


def plan(ctx: PlanContext[Parameters]) -> Plan:
    inputs = {}
    for name in ("ingest", "annotate"):
        upstream = ctx.upstream[name]
        inputs[name] = upstream.merged[0]
        inputs |= {f"{name}/{unit}": digest for unit, (digest, _) in upstream.units.items()}
    return Plan(units=(Unit(name=UNIT, inputs=inputs),))


def run(_unit: Unit, ctx: RunContext[Parameters]) -> Outcome:
    from stages.table import read_table, write_table

    series = {
        label.removeprefix("ingest/"): sorted(tree.glob("*.zip"))
        for label, tree in ctx.trees.items()
        if label.startswith("ingest/")
    }
    consensus = {
        label.removeprefix("annotate/"): tree / "consensus"
        for label, tree in ctx.trees.items()
        if label.startswith("annotate/") and any((tree / "consensus").glob("*.dcm"))
    }
    _lay_out(series, consensus, ctx)
    found = standings(
        series,
        consensus=set(consensus),
        rows=read_table(ctx.trees["ingest"] / "series.parquet"),
        queue=read_table(ctx.trees["annotate"] / "queue.parquet"),
        classes=read_table(ctx.trees["annotate"] / "classes.parquet"),
        task=ctx.params.task,
    )
    splits, reasons = _part(found, _shared(found, series, ctx), ctx.params)
    write_table(
        ctx.out / "splits.parquet",
        [
            {
                "subject": subject,
                "split": split,
                "reason": reasons.get(subject, ""),
                "vendor": found[subject].vendor,
            }
            for subject, split in sorted(splits.items())
        ],
        COLUMNS,
    )
    counts = {split: sum(s == split for s in splits.values()) for split in set(splits.values())}
    return Outcome(findings={"subjects": counts, "excluded": dict(sorted(reasons.items()))})


def merge(ctx: MergeContext[Parameters]) -> Outcome:
    from stages.table import read_table

    cohort = ctx.units[UNIT]
    counts = summary.summarize(
        read_table(cohort / "splits.parquet"),
        read_table(cohort / "series.parquet"),
        read_table(cohort / "labels.parquet"),
        read_table(cohort / "classes.parquet"),
    )
    (ctx.out / "summary.json").write_bytes(canonical_json(counts))
    return Outcome(findings=counts, gate=summary.gate(counts, ctx.params.task, ctx.params.dataset))


STAGE = Stage(
    name="dataset",
    parameters=Parameters,
    after=("ingest", "annotate"),
    plan=plan,
    run=run,
    merge=merge,
)


def _lay_out(
    series: dict[str, list[Path]], consensus: dict[str, Path], ctx: RunContext[Parameters]
) -> None:
    """Link everything but the splits into the layout of `data/` (DAT-8)."""
    for done, (subject, archives) in enumerate(sorted(series.items())):
        ctx.say("linking series", 0.4 * done / len(series))
        for archive in archives:
            link(archive, ctx.out / subject / archive.name)
        if subject in consensus:
            link_tree(consensus[subject], ctx.out / subject / "consensus")
    for name, (stage, source) in TABLES.items():
        link(ctx.trees[stage] / source, ctx.out / name)


def _shared(
    found: dict[str, Standing], series: dict[str, list[Path]], ctx: RunContext[Parameters]
) -> dict[str, str]:
    """Subjects that share an image with one that is kept (DAT-4)."""
    from stages.dataset.duplicates import keep_first, pixel_digests

    pixels = {}
    for done, (subject, standing) in enumerate(sorted(found.items())):
        ctx.say("comparing images", 0.4 + 0.6 * done / len(found))
        if not standing.reason:
            images = [archive for archive in series[subject] if archive.stem in standing.images]
            pixels[subject] = pixel_digests(images)
    seed = ctx.params.dataset.seed
    order = sorted(pixels, key=lambda name: (not found[name].labeled, place(name, seed), name))
    return keep_first(pixels, order)


def _part(
    found: dict[str, Standing], shared: dict[str, str], params: Parameters
) -> tuple[dict[str, Split], dict[str, str]]:
    """Give every subject its split, and the excluded ones their reason (DAT-1, DAT-5)."""
    reasons = {subject: standing.reason for subject, standing in found.items() if standing.reason}
    reasons |= {
        subject: f"has an image that {kept} has too: one person or one scan, registered twice"
        for subject, kept in shared.items()
    }
    labeled = {
        subject: standing.vendor
        for subject, standing in found.items()
        if standing.labeled and subject not in reasons
    }
    splits: dict[str, Split] = dict.fromkeys(found, "unlabeled")
    splits |= dict.fromkeys(reasons, "excluded")
    classes = {subject: found[subject].classes for subject in labeled}
    splits |= assign(labeled, params.dataset.fractions, params.dataset.seed, classes)
    return splits, reasons
