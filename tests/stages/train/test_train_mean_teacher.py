"""Mean teacher: no gradient and no label reaches it; it follows, is validated, and is kept."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers_dicom import TASK
from helpers_images import source
from helpers_train import NETWORK, course

from stages.network import weights_sha256
from stages.params import ClassLabel, Code, Network, Numerics, Task, Volume
from stages.train.batches import Batch, batches
from stages.train.data import Data
from stages.train.loop import Training
from stages.train.mean_teacher import MeanTeacher, disagreement, strong_view
from stages.train.params import MeanTeacherParams, Parameters, TrainParams
from stages.train.regime import beside, objective_of
from stages.train.start import new_network
from stages.train.ways import PRESETS, Variant

PATCH = (8, 16, 16)
CLASSES = tuple(
    ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
    for name in ("benign", "malignant")
)
BOTH = Task(modality="CT", structures=TASK.structures, classes=CLASSES)
CLASSIFIED = Task(modality="US", classes=CLASSES)
DENSE = Network(
    _target_="monai.networks.nets.DenseNet",
    arguments={"init_features": 8, "growth_rate": 4, "block_config": (2, 2)},
)
KINDS = pytest.mark.parametrize(
    ("task", "network"),
    [
        pytest.param(TASK, NETWORK, id="grid"),
        pytest.param(CLASSIFIED, DENSE, id="classes"),
        pytest.param(BOTH, NETWORK, id="both"),
    ],
)
TAUGHT = Variant.model_validate({"name": "taught", **PRESETS["mean-teacher"]})


def _params(task: Task = TASK, network: Network = NETWORK, **options: Any) -> Parameters:
    return Parameters(
        task=task,
        numerics=Numerics(threads=1, seed=7),
        volume=Volume(patch=PATCH),
        network=network,
        train=TrainParams(mean_teacher=MeanTeacherParams(**options)),
    )


def _data(task: Task = TASK, count: int = 3) -> Data:
    return Data(
        labeled=[source(PATCH, seed, task=task) for seed in range(count)],
        unlabeled=[source(PATCH, 10 + seed, labeled=False, task=task) for seed in range(count)],
        validation=[],
    )


def _training(
    params: Parameters, data: Data, **choices: Any
) -> tuple[Training, MeanTeacher, partial[Any]]:
    module, _ = new_network(params.network, params.task, params.volume, 1)
    objective = objective_of(TAUGHT, module, data, params)
    assert isinstance(objective, MeanTeacher)
    others, second = beside(TAUGHT, data, params)
    drawn = partial(
        batches,
        data.labeled,
        patch=PATCH,
        train=params.train,
        seed=7,
        unlabeled=others,
        second=second,
    )
    return Training(module, objective, course(**choices)), objective, drawn


@KINDS
def test_the_teacher_gets_no_gradient_follows_and_is_the_result(
    task: Task, network: Network
) -> None:
    training, objective, drawn = _training(_params(task, network), _data(task), epochs=2)
    before = weights_sha256(objective.teacher)
    own = {id(parameter) for parameter in training._trained}
    for _ in training.run(drawn):
        assert not objective.teacher.training
    assert training.result is objective.teacher
    assert weights_sha256(objective.teacher) not in (before, weights_sha256(training.module))
    for parameter in objective.teacher.parameters():
        assert parameter.grad is None
        assert id(parameter) not in own


def test_the_teacher_is_a_moving_average_that_forgets_the_start() -> None:
    params = _params(decay=0.99)
    module, _ = new_network(params.network, params.task, params.volume, 1)
    objective = MeanTeacher(
        objective_of(Variant(name="x"), module, _data(), params),  # type: ignore[arg-type]
        module,
        params.train.mean_teacher,
    )
    name = "convInit.conv.weight"
    expected = module.state_dict()[name].clone()
    for step in range(1, 4):
        with torch.no_grad():
            module.state_dict()[name].add_(1.0)
        objective.after_step(module, 0.5)
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * module.state_dict()[name]
    assert torch.allclose(objective.teacher.state_dict()[name], expected, atol=1e-6)


def test_agreement_weighs_more_as_training_goes_on() -> None:
    params = _params(weight=2.0, ramp=0.5)
    _, objective, _ = _training(params, _data())
    weights = [float(objective.weight)]
    module, _ = new_network(params.network, params.task, params.volume, 1)
    for done in (0.25, 0.5, 0.9):
        objective.after_step(module, done)
        weights.append(float(objective.weight))
    assert weights[0] == pytest.approx(2 * np.exp(-5), rel=1e-5)
    assert weights == sorted(weights)
    assert weights[2] == weights[3] == 2


@pytest.mark.rule("TRN-9")
def test_a_training_with_a_teacher_goes_on_from_its_state_to_the_same_bits() -> None:
    params, data = _params(), _data()
    whole, _, drawn = _training(params, data, epochs=3)
    list(whole.run(drawn))
    first, _, _ = _training(params, data, epochs=3)
    next(first.run(drawn))
    again, objective, _ = _training(params, data, epochs=3)
    with torch.no_grad():
        for parameter in objective.teacher.parameters():
            parameter.zero_()
    again.restore(first.state())
    list(again.run(drawn, after=1))
    assert weights_sha256(again.result) == weights_sha256(whole.result)


@pytest.mark.rule("TRN-2")
@pytest.mark.parametrize("workers", [0, 2])
def test_labels_of_the_unlabeled_and_workers_change_no_bit(workers: int) -> None:
    params, data = _params(), _data()
    told = replace(data, unlabeled=[source(PATCH, 10 + seed) for seed in range(3)])
    others, second = beside(TAUGHT, data, params)
    cheated, _ = beside(TAUGHT, told, params)
    assert cheated[0].voxels, "or this test is of nothing"
    draw = partial(batches, data.labeled, 1, PATCH, params.train, 7, second=second)
    one = list(draw(unlabeled=others))
    other = list(draw(unlabeled=cheated, workers=workers))
    for a, b in zip(one, other, strict=True):
        assert a.unlabeled is not None
        assert b.unlabeled is not None
        assert a.unlabeled.shape[1] == 2
        assert torch.equal(a.unlabeled, b.unlabeled)
        assert torch.equal(a.images, b.images)


def test_the_strong_view_is_another_but_of_the_same_patch() -> None:
    params = _params(strength=0.2, cutout=0.0)
    _, _, drawn = _training(params, _data())
    batch = next(iter(drawn(epoch=1)))
    weak, strong = batch.unlabeled[:, 0].flatten(1), batch.unlabeled[:, 1].flatten(1)
    for one, other in zip(weak, strong, strict=True):
        assert not torch.equal(one, other)
        assert float(torch.corrcoef(torch.stack([one, other]))[0, 1]) > 0.8
    patch = np.ones(PATCH, np.float32)
    still = MeanTeacherParams(strength=0.0, cutout=0.0)
    assert np.array_equal(strong_view(still, patch, np.random.default_rng(0)), patch)
    boxed = strong_view(
        MeanTeacherParams(strength=0.0, cutout=1.0),
        weak[0].reshape(PATCH).numpy(),
        np.random.default_rng(0),
    )
    share = float((boxed != weak[0].reshape(PATCH).numpy()).mean())
    assert 0 < share < 3 / 27 + 0.1


@pytest.mark.parametrize("shape", [(2, 3, 4, 4, 4), (2, 2)])
def test_who_answers_alike_loses_nothing_and_only_where_the_teacher_is_sure(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    own, taught = torch.randn(shape), torch.randn(shape)
    assert float(disagreement(1e5 * taught, taught, 0.0)) == pytest.approx(0, abs=1e-4)
    whole = float(disagreement(own, taught, 0.0))
    assert whole > float(disagreement(own + taught, taught, 0.0)) > 0
    sure = float(disagreement(own, 1000 * taught, 0.9))
    assert sure == pytest.approx(whole), "it is the answer that counts, not how sure it is"
    assert float(disagreement(own, taught, 1.0)) == pytest.approx(0, abs=1e-4)
    both = disagreement((own, own), (taught, taught), 0.0)
    assert float(both) == pytest.approx(2 * whole, rel=1e-5)


@pytest.mark.slow
def test_who_was_taught_answers_a_strong_view_as_the_teacher_does_the_weak_one() -> None:
    """Nearer than a network whose teacher was never listened to, on volumes that neither saw."""
    unseen = [source(PATCH, 200 + seed, labeled=False) for seed in range(8)]

    def apart(weight: float) -> float:
        params, data = _params(weight=weight, ramp=0.1, strength=0.4, decay=0.9), _data(count=8)
        training, objective, drawn = _training(params, data, epochs=10)
        list(training.run(drawn))
        module = training.module.eval()
        _, second = beside(TAUGHT, data, params)
        shown = batches(data.labeled, 1, PATCH, params.train, 9, unlabeled=unseen, second=second)
        found = []
        for batch in shown:
            assert batch.unlabeled is not None
            with torch.no_grad():
                weak, strong = batch.unlabeled[:, :1], batch.unlabeled[:, 1:]
                found.append(float(disagreement(module(strong), objective.teacher(weak), 0.0)))
        return float(np.mean(found))

    assert apart(1.0) < apart(0.0)


def test_a_batch_without_unlabeled_is_the_caller_s_mistake() -> None:
    params, data = _params(), _data()
    _, objective, _ = _training(params, data)
    module, _ = new_network(params.network, params.task, params.volume, 1)
    batch = Batch(torch.zeros(1, 1, *PATCH), torch.zeros(1, 1, *PATCH), torch.tensor([-1]))
    with pytest.raises(AssertionError):
        objective(module, batch)
