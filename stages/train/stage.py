"""Train: every declared way of transfer on the same data, and the choice of one.

Ways (`stages/train/ways.py`): `scratch` starts at random; `frozen` takes the backbone that was
pre-trained on the cohort's own images and trains the new head and the last layers; `finetuned`
takes it and trains everything.

Rules:

- TRN-1  Weights depend on data and parameters alone: the same bytes in another folder, process or
         order of work, on the same class of machine. Digests say where two trainings part: of the
         prepared volumes (`preprocessing.parquet`), of every epoch's batches and weights (history).
- TRN-2  No variant sees a test subject, and none is trained on a validation subject. Pre-training
         sees images of unlabeled and training subjects, never a label.
- TRN-3  All variants have the same data, order, augmentation, epochs and loss.
- TRN-4  The head is new in every variant; `frozen` leaves the backbone as it was pre-trained.
- TRN-5  The choice follows the rule declared before: highest mean validation Dice over structures;
         within `train.margin` of the best, the variant that `train.variants` names first.
- TRN-6  The gate refuses a choice below `train.min_dice`.
- TRN-7  Where pre-training brings no more than the margin, the gate says so.
- TRN-8  Nothing is trained in silence on too little: no training or validation series, a structure
         that no training series shows, or a loss that is not finite ends the stage with a remedy;
         a series that cannot be read is left out, counted, with its reason.
"""

from __future__ import annotations

from stages.stage import MergeContext, Outcome, Plan, PlanContext, RunContext, Stage, Unit
from stages.train.params import Parameters

COHORT = "dataset/cohort"
UNIT = "variants"


def plan(ctx: PlanContext[Parameters]) -> Plan:
    """One unit: pre-training and all variants, which share it."""
    digest, _ = ctx.upstream["dataset"].units["cohort"]
    return Plan(units=(Unit(UNIT, {COHORT: digest}),))


def run(_unit: Unit, ctx: RunContext[Parameters]) -> Outcome:
    """Train all variants: weights, history and result of each, and what they were trained on.

    Writes `<variant>/model.safetensors`, `history.parquet`, `result.json`; `preprocessing.parquet`.
    """
    from functools import partial

    from stages.network import pinned
    from stages.train.compare import follow_variants, run_variants
    from stages.train.parallel import group
    from stages.train.setting import Setting

    setting = Setting(workers=ctx.loader_workers, scratch=ctx.scratch, logs=ctx.logs)
    cohort, numerics = ctx.trees[COHORT], ctx.params.numerics
    with (
        group(numerics, partial(follow_variants, cohort, ctx.params, setting)),
        pinned(numerics),
    ):
        return run_variants(cohort, ctx.params, ctx.out, ctx.say, setting)


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
