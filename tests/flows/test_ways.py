"""Every way of transfer on phantoms, each against what it would be without what it adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from helpers_project import make

from flows.parameters import load
from stages.network import pinned
from stages.params import Params
from stages.phantom.cohort import generate
from stages.train.cache import Cache
from stages.train.cases import part, read_samples
from stages.train.params import MeanTeacherParams, Parameters, Pretraining, TrainParams
from stages.train.pretraining import pretrain
from stages.train.scores import evaluate, score
from stages.train.start import new_network
from stages.train.trial import Trained, Trial, run_trial
from stages.wrapped import bare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
LABELS, EPOCHS, PATCHES = 3, 12, 24
"""Labeled subjects, epochs and patches an epoch of every trial but the source's."""
METHODS = ("masked", "restoration", "contrastive")


class World:
    """Phantoms, weights trained on more of them, and trials on few labels, each run once."""

    def __init__(self, tree: Path, sections: dict[str, Params]) -> None:
        train = TrainParams(
            epochs=EPOCHS,
            validate_every=EPOCHS,
            learning_rate=0.004,
            patches=PATCHES,
            # blocks as fine as the organ's border; a few hundred steps of each method
            pretraining=Pretraining(mask_block=4, epochs=60),
            # a memory of ten of the three hundred steps
            mean_teacher=MeanTeacherParams(decay=0.9, weight=0.5, strength=0.1),
        )
        self.both = sections["task"]
        self.params = Parameters.model_validate(
            {
                "task": sections["task"].model_copy(update={"classes": ()}),
                "numerics": sections["numerics"],
                "volume": sections["volume"].model_copy(update={"patch": (16, 48, 48)}),
                "network": {
                    "_target_": "monai.networks.nets.UNet",
                    "arguments": {"channels": [16, 32, 64], "strides": [2, 2]},
                },
                "train": train,
            }
        )
        self.tree = tree
        samples, _ = read_samples(tree, self.params, Cache(None))
        self.whole = part(samples, self.params, Cache(None))
        self.few = self.whole.with_labels(LABELS, 1, self.params.task)
        self.start = cache(self._start)
        self.trained = cache(self._trained)

    def _start(self, name: str) -> dict[str, torch.Tensor] | None:
        if name == "random":
            return None
        if name in METHODS:
            module, _ = pretrain(name, self.whole.unlabeled, self.params, lambda _e, _l: None)
            return dict(bare(module).state_dict())
        long = replace(self.trial("scratch"), seed=99, epochs=4 * EPOCHS, name="theirs")
        return dict(run_trial(long, self.whole, self.params, start=None).module.state_dict())

    def trial(self, preset: str, **choices: object) -> Trial:
        train = TrainParams(variants=({"name": preset, "like": preset, **choices},))
        return Trial(train.ways[preset], 7, EPOCHS, preset)

    def _trained(self, preset: str, start: str, rank: int = 4) -> Trained:
        trial = self.trial(preset, rank=rank)
        return run_trial(trial, self.few, self.params, start=self.start(start))

    def result(self, preset: str, start: str = "random", rank: int = 4) -> float:
        """The validation score of a way."""
        found: float = self.trained(preset, start, rank).result["score"]
        return found

    def untrained(self) -> float:
        """The score of a network as it starts at random."""
        module, _ = new_network(self.params.network, self.params.task, self.params.volume, 7)
        found = evaluate(module, self.whole.validation, self.params.task, self.params.volume)
        return score(found, self.params.task) or 0.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("ways")
    generate(folder / "incoming", subjects=15, unlabeled=4, defects=False)
    classes = [
        {"name": name, "code": {"value": value, "scheme": "SCT", "meaning": name}}
        for name, value in (("benign", "30807003"), ("malignant", "21594007"))
    ]
    project = make(folder, folder / "incoming", task={"classes": classes})
    project.run("--until", "dataset")
    sections = load(project.folder / "params.yaml").sections()
    with pinned(sections["numerics"]):  # type: ignore[arg-type]
        yield World(project.folder / "data", sections)


@pytest.mark.rule("TRN-4")
def test_a_network_learns_from_scratch(world: World) -> None:
    assert world.result("scratch") > world.untrained() + 0.1


@pytest.mark.rule("TRN-4")
def test_zero_shot_use_beats_a_network_that_knows_nothing(world: World) -> None:
    assert world.result("zero-shot", "theirs") > world.untrained() + 0.2


@pytest.mark.rule("TRN-4")
@pytest.mark.parametrize("preset", ["probe", "frozen"])
def test_frozen_features_beat_frozen_chance(world: World, preset: str) -> None:
    assert world.result(preset, "theirs") > world.result(preset, "random") + 0.02


@pytest.mark.rule("TRN-4")
@pytest.mark.parametrize("preset", ["finetuned", "gradual", "discriminative", "probe-then-full"])
def test_training_from_their_weights_beats_training_from_scratch(world: World, preset: str) -> None:
    assert world.result(preset, "theirs") > world.result("scratch")


@pytest.mark.rule("TRN-4")
def test_adapters_train_little_and_beat_the_frozen_backbone(world: World) -> None:
    found = world.trained("lora", "theirs", 1).result
    assert found["trained_parameters"] < 0.05 * found["parameters"]
    assert found["score"] > world.result("probe", "theirs")


@pytest.mark.rule("PRE-3")
@pytest.mark.parametrize("method", METHODS)
def test_features_learned_without_labels_beat_chance(world: World, method: str) -> None:
    assert world.result("frozen", method) > world.result("frozen", "random")


@pytest.mark.rule("TRN-2")
def test_a_mean_teacher_beats_the_labels_alone(world: World) -> None:
    """With the label of one subject; over three seeds, for one tells little."""
    one = world.whole.with_labels(1, 1, world.params.task)
    found = {
        name: [
            run_trial(
                replace(world.trial(name), seed=seed, epochs=2 * EPOCHS),
                one,
                world.params,
                start=None,
            ).result["score"]
            for seed in (7, 8, 9)
        ]
        for name in ("scratch", "mean-teacher")
    }
    assert sum(found["mean-teacher"]) > sum(found["scratch"]), found


@pytest.mark.rule("TRN-2")
def test_a_mean_teacher_that_starts_from_their_weights_beats_one_that_does_not(
    world: World,
) -> None:
    assert world.result("pretrained-mean-teacher", "theirs") > world.result("mean-teacher")


@pytest.mark.rule("TRN-10")
def test_private_training_beats_a_network_that_knows_nothing(world: World) -> None:
    assert world.result("private", "theirs") > world.untrained()


@pytest.mark.rule("NET-1")
def test_one_network_answers_both_questions(world: World) -> None:
    params = world.params.model_copy(update={"task": world.both})
    samples, _ = read_samples(world.tree, params, Cache(None))
    data = part(samples, params, Cache(None))
    assert {source.label for source in data.labeled} == {0, 1}
    trial = Trial(params.train.ways["scratch"], 7, 4 * EPOCHS, "both")
    trained = run_trial(trial, data, params, start=None)
    assert trained.result["dice_organ"] > 0.5
    seen = [sample for sample in samples if sample.case.split == "train" and sample.case.label]
    outcomes = [o for o in evaluate(trained.module, seen, world.both, params.volume) if o.truth]
    right = sum(outcome.value > 0.5 for outcome in outcomes) / len(outcomes)
    labels = [sample.case.label for sample in seen]
    assert right > max(labels.count(name) for name in set(labels)) / len(labels)
