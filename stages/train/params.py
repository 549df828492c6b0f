"""Section `train` of `params.yaml`, and the sections that the stage takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from audit.errors import WrongUse
from stages.params import Name, Network, Numerics, Params, Task, Volume
from stages.pretrained_params import Weights
from stages.train.ways import PRETRAINED, RANDOM, SELF_SUPERVISED, Variant, variant


class Augmentation(Params):
    """How far a training patch may differ from its volume; 0 switches a kind off."""

    rotation_deg: Annotated[float, Field(ge=0, le=45)] = 10.0
    """Largest rotation within the plane of a slice, either way."""
    tilt_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    """Largest rotation out of that plane, about rows and about columns, either way."""
    scale: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Largest relative change of size."""
    shift_voxels: Annotated[int, Field(ge=0)] = 4
    """Largest shift along each axis, beyond the choice of the patch."""
    intensity: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest relative change of contrast, and largest offset in units of the prepared volume."""
    noise: Annotated[float, Field(ge=0)] = 0.05
    """Largest standard deviation of added Gaussian noise, in units of the prepared volume."""
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest logarithm, either way, of the power to which intensities above the volume's minimum
    are raised."""
    mirror: tuple[Literal["slices", "rows", "columns"], ...] = ()
    """Axes along which a patch may be mirrored. Anatomy is rarely symmetric: none by default."""


class Pretraining(Params):
    """Self-supervised methods, on images without their labels."""

    epochs: Annotated[int, Field(ge=1)] = 30
    """Of every method alike."""
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of the patch's blocks that are hidden."""
    mask_block: Annotated[int, Field(ge=1)] = 8
    """Side of a block, in voxels."""
    remapped: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Restoration: share of the patches whose intensities go through a non-linear map. This and
    the next three are those of Models Genesis."""
    shuffled: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Restoration: share of the patches whose voxels are shuffled within small boxes."""
    painted: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Restoration: share of the patches that are partly painted over with noise."""
    painted_around: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Restoration: share of the painted patches that are painted all around some boxes; in the
    others, boxes are."""
    contrast: Annotated[int, Field(ge=2)] = 8
    """Contrastive: volumes of a batch, each told from the others. More are better told apart, and
    take more memory."""
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Contrastive: lower weighs the most alike of the others more, which few others need (SimCLR
    tried 0.05 to 1)."""


class MeanTeacherParams(Params):
    """Agreement with a teacher on unlabeled images, of the variants that ask for it."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Of the moving average that the teacher is: it remembers about 1 / (1 - decay) steps, which
    should be few of the whole training."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Of agreement, beside the labels' loss, after the ramp-up."""
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the training over which the weight rises (sigmoid): a teacher that knows nothing
    teaches nothing."""
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Only where the teacher's highest probability is this or more does agreement count; 0:
    everywhere."""
    strength: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Of the network's view: largest relative change of contrast, and largest offset in units of
    the prepared volume."""
    cutout: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the network's views with one to three boxes cut out, a sixth to a third of each
    side."""


class Adaptation(Params):
    """To scanners whose images nobody labeled, as far as training goes."""

    vendors: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """The target's, as the cohort names them. No variant is trained on a label of theirs, whether
    it adapts or not; their validation subjects decide epoch and choice. A subject
    whom others imaged too counts as theirs."""
    correlation: Annotated[float, Field(ge=0)] = 1.0
    """Of `correlation`: weight of the distance of means and covariances."""
    adversarial: Annotated[float, Field(ge=0)] = 0.1
    """Of `adversarial`: weight of the reversed gradient at the end of its rise."""
    frequencies: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Of `spectrum`: highest frequency along each axis whose amplitude is swapped, in cycles a
    voxel."""


class Comparison(Params):
    """How sure the comparison is to be, and how cheap: declared before, like the margin."""

    seeds: Annotated[int, Field(ge=1, le=20)] = 1
    """Trainings of each finalist, with `numerics.seed` and the numbers after it; the first seed's
    network is the candidate."""
    label_counts: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Learning curves: finalists are also trained with the labels of so many subjects."""
    screening_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Successive halving: all variants are trained for the first number of epochs, the better ones
    for the next; those that are left for `train.epochs`. None: all are finalists."""
    screening_keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the variants that goes on from each screening, rounded up."""
    rule: Literal["mean", "interval"] = "mean"
    """Within the margin is a variant whose mean score is, or the lower end of whose difference to
    the best."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap samples, of validation subjects and seeds."""


class TrainParams(Params):
    """Section `train`."""

    variants: Annotated[tuple[Variant, ...], Field(min_length=1)] = tuple(
        Variant.model_validate(variant(name)) for name in ("scratch", "frozen", "finetuned")
    )
    """Ways of transfer to compare, the simplest first: this order decides within the margin. A
    preset's name, or a mapping: `name`, `like` a preset, and what differs."""
    pretrained: Name = "masked"
    """Where presets that start from pre-trained weights take them: a self-supervised method, or a
    source of `weights`."""
    epochs: Annotated[int, Field(ge=1)] = 60
    """Passes over the training series, for every variant alike; each series gives a patch."""
    patches: Annotated[int, Field(ge=1)] | None = None
    """Patches an epoch, the series taking turns, so that fewer labels mean no shorter training;
    null: one of each series."""
    batch: Annotated[int, Field(ge=1)] = 2
    learning_rate: Annotated[float, Field(gt=0)] = 0.004
    """Of AdamW at its highest, the first epoch unless there is a warm-up."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the epochs over which the learning rate rises to it, in equal steps."""
    decay: Literal["polynomial", "cosine"] = "polynomial"
    """How the learning rate then falls to zero: by a polynomial of degree 0.9, or half a wave."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the moving average of the weights (EMA) that is validated and kept; null: none."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Validations without a better score after which a training stops; null: never."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.25
    """A structure's voxels weigh in the cross-entropy by their share of all, to minus this power,
    lest a small one is not learned at all; 0: all alike."""
    balance_until: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the epochs over which the weights of voxels and classes fade to 1 and stay there,
    since what weighs more is outlined too large in the end; null: they do not change."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.67
    """Share of patches that are centered on a structure, each structure alike; matters where a
    volume is larger than the patch."""
    unfrozen_layers: Annotated[int, Field(ge=1)] = 3
    """Convolutions before the output, the output's own included, that `frozen` trains."""
    validate_every: Annotated[int, Field(ge=1)] = 5
    """Epochs between validations; the last epoch is always validated."""
    pretraining: Pretraining = Pretraining()
    mean_teacher: MeanTeacherParams = MeanTeacherParams()
    augmentation: Augmentation = Augmentation()
    adaptation: Adaptation | None = None
    """The target of variants that adapt; null: there is none, all vendors are alike."""
    comparison: Comparison = Comparison()
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Score (Dice, AUC) below the best variant's that still counts as not inferior: the simplest
    variant within it is chosen."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least validation score of the chosen variant; below it the gate refuses. The score is the
    mean Dice over structures, the mean AUC over classes, or the mean of both."""

    @field_validator("variants", mode="before")
    @classmethod
    def _presets(cls, value: Any) -> Any:
        return tuple(map(variant, value)) if isinstance(value, list | tuple) else value

    @field_validator("variants")
    @classmethod
    def _distinct(cls, value: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if len(value) != len({way.name for way in value}):
            raise ValueError("a variant is named twice")
        return value

    @property
    def adapted(self) -> Adaptation:
        """The target, for a variant that adapts."""
        assert self.adaptation is not None  # noqa: S101 - `Parameters` refuses such a variant else
        return self.adaptation

    @property
    def ways(self) -> dict[str, Variant]:
        """Name → variant, in the declared order, its start and layers said."""
        layers = self.unfrozen_layers
        return {
            way.name: way.model_copy(
                update={
                    "start": self.pretrained if way.start == PRETRAINED else way.start,
                    "layers": (way.layers or layers) if way.trains == "tail" else None,
                }
            )
            for way in self.variants
        }


class Parameters(Params):
    """What `train` takes of `params.yaml`."""

    task: Task
    numerics: Numerics
    volume: Volume
    network: Network
    weights: Weights = Weights()
    train: TrainParams = TrainParams()

    @property
    def foreign(self) -> tuple[str, ...]:
        """Names of the sources in `weights` that variants start from, sorted.

        Raises:
            WrongUse: a variant starts from what is neither a method nor such a source, or keeps a
                head that its start does not have.
        """
        known = {RANDOM, *SELF_SUPERVISED}
        for name, way in self.train.ways.items():
            if way.head == "kept" and way.start in known:
                raise WrongUse(
                    f"Variant {name} keeps the head of its start, and {way.start!r} has none of "
                    "this task.",
                    "Let it start from a source in `weights` that answers the task already.",
                )
        found = {way.start: name for name, way in self.train.ways.items() if way.start not in known}
        for start, name in sorted(found.items()):
            if start not in self.weights.sources:
                raise WrongUse(
                    f"Variant {name} starts from {start!r}, which is neither a method "
                    f"({', '.join(sorted(known))}) nor one of `weights.sources`.",
                    "Declare the weights, or correct `train.pretrained` or the variant's `start`.",
                )
        return tuple(sorted(found))

    @model_validator(mode="after")
    def _target(self) -> Self:
        adapting = [name for name, way in self.train.ways.items() if way.adapt != "none"]
        if adapting and self.train.adaptation is None:
            raise ValueError(
                f"train.variants: {adapting[0]} adapts, but there is no target: name its vendors "
                "in train.adaptation.vendors"
            )
        return self
