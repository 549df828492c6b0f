"""Train: every declared way of transfer on the same data, and the choice of one.

In: the cohort, and the files of pre-trained weights that variants start from. Out: the unit
`variants`; merged: the candidate, the comparison, learning curves.

Rules:

- TRN-1  Weights depend on data and parameters alone: the same bytes in another folder, process or
         order of work, on the same class of machine. Digests say where two trainings part: of the
         prepared volumes (`preprocessing.parquet`), of every epoch's batches and weights (history).
- TRN-2  No variant sees a test subject, and none is trained on a validation subject. Pre-training
         sees images of unlabeled and training subjects, never a label.
- TRN-3  All variants have the same data, order, augmentation, steps, seeds and loss.
- TRN-4  The head is new in every variant, but for zero-shot use; what a way freezes stays as it
         was. What was taken from the start, and what not, is in the record.
- TRN-5  The choice follows the rule declared before: of the variants that are not inferior to the
         best by more than `train.margin`, the one that `train.variants` names first.
- TRN-6  The gate refuses a choice below `train.min_score`.
- TRN-7  Where pre-training brings no more than the margin, the gate says so.
- TRN-8  Nothing is trained in silence on too little: no training or validation series, a structure
         or class that no training series shows, or a number that is not finite ends the stage with
         a remedy; a series that cannot be read is left out, counted, with its reason.
- TRN-9  A training that was cut off goes on to the same bits.
- TRN-10 Private training says what its bound assumes; that its noise can be drawn again is a
         finding.
- TRN-11 Scores have intervals over subjects and seeds; differences are paired, tests corrected.
- TRN-12 How the images differ from those that a source was trained on is a finding, and so is a
         license that is only argued for.
"""

from __future__ import annotations

from pathlib import Path

from stages.stage import MergeContext, Outcome, Plan, PlanContext, RunContext, Stage, Unit
from stages.train.params import Parameters

COHORT = "dataset/cohort"
UNIT = "variants"


def plan(ctx: PlanContext[Parameters]) -> Plan:
    """One unit: pre-training and all variants, which share it."""
    from stages.pretrained_fetch import entry, fetch

    weights, names = ctx.params.weights, ctx.params.foreign
    digest, _ = ctx.upstream["dataset"].units["cohort"]
    inputs = {COHORT: digest}
    inputs |= {f"source/weights/{name}": entry(name, weights).sha256 for name in names}
    files = {}
    if names and not ctx.dry:
        assert ctx.project is not None  # noqa: S101 - the coordinator gives both
        assert ctx.home is not None  # noqa: S101
        files = {n: str(fetch(n, weights, project=ctx.project, home=ctx.home)) for n in names}
    return Plan(units=(Unit(UNIT, inputs, private={"weights": files}),))


def run(unit: Unit, ctx: RunContext[Parameters]) -> Outcome:
    """Train all variants: weights, history and result of each, and what they were trained on.

    Writes `<variant>/model.safetensors`, `history.parquet`, `outcomes.parquet`, `result.json`;
    `trials.parquet`, `preprocessing.parquet`, `pretraining/`, `weights/`.
    """
    from functools import partial

    from stages.network import pinned
    from stages.train.compare import follow_variants, run_variants
    from stages.train.parallel import group
    from stages.train.setting import Setting

    setting = Setting(
        workers=ctx.loader_workers, scratch=ctx.scratch, cache=ctx.cache, logs=ctx.logs
    )
    cohort, params = ctx.trees[COHORT], ctx.params
    files = {name: Path(path) for name, path in unit.private.get("weights", {}).items()}
    follow = partial(follow_variants, cohort, files, params, setting)
    with group(params.numerics, follow), pinned(params.numerics):
        return run_variants(cohort, files, params, ctx.out, say=ctx.say, setting=setting)


def merge(ctx: MergeContext[Parameters]) -> Outcome:
    """Choose: `model.safetensors`, `candidate.json`, `comparison.parquet`, and the gate."""
    from stages.train.choice import choose

    return choose(ctx.units[UNIT], ctx.params, ctx.out)


STAGE = Stage(
    name="train",
    parameters=Parameters,
    after=("dataset",),
    plan=plan,
    run=run,
    merge=merge,
    numeric=True,
    classes=lambda params: (params.network.target,),
)
