"""Self-supervision: no label is read, chance hangs on the place alone, and each method learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_dicom import TASK
from helpers_images import source
from helpers_train import NETWORK

from audit.errors import WrongUse
from stages.network import weights_sha256
from stages.params import ClassLabel, Code, Network, Numerics, Task, Volume
from stages.train import parallel
from stages.train.batches import Batch
from stages.train.params import Parameters, Pretraining, TrainParams
from stages.train.pretraining import METHODS, pretrain, tasks, untrained
from stages.train.setting import Setting
from stages.train.source import Source
from stages.train.start import new_network, take
from stages.wrapped import bare

PATCH = (8, 16, 16)
PLANE = (1, 32, 32)
CLASSES = tuple(
    ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
    for name in ("benign", "malignant")
)
CLASSIFIED = Task(modality="US", classes=CLASSES)
DENSE = Network(
    _target_="monai.networks.nets.DenseNet",
    arguments={"init_features": 8, "growth_rate": 4, "block_config": (2, 2)},
)
WAYS: list[Any] = [
    pytest.param(TASK, NETWORK, PATCH, id="grid"),
    pytest.param(CLASSIFIED, DENSE, PATCH, id="classes"),
    pytest.param(TASK, NETWORK, PLANE, id="plane"),
    pytest.param(CLASSIFIED, DENSE, PLANE, id="classes of planes"),
]


def _params(
    task: Task = TASK,
    network: Network = NETWORK,
    patch: tuple[int, int, int] = PATCH,
    patches: int | None = None,
    **pretraining: Any,
) -> Parameters:
    options = {"epochs": 1, "mask_block": 4, "contrast": 4} | pretraining
    return Parameters(
        task=task,
        numerics=Numerics(threads=1, seed=7),
        volume=Volume(patch=patch),
        network=network,
        train=TrainParams(
            pretraining=Pretraining.model_validate(options),
            batch=4,
            patches=patches,
            learning_rate=0.004,
        ),
    )


def _sources(count: int = 4, *, shape: tuple[int, int, int] = PATCH) -> list[Source]:
    return [source(shape, seed, striped=True) for seed in range(count)]


def _same(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("images", "targets", "labels")
    )


@pytest.mark.rule("PRE-1")
@pytest.mark.parametrize("method", METHODS)
def test_labels_change_no_bit(method: str) -> None:
    params = _params()
    sources = _sources()
    assert all(one.target is not None and one.voxels for one in sources)
    others = [
        replace(one, target=one.target * 0 + 1, voxels=(np.arange(3),), label=1)  # type: ignore[operator]
        for one in sources
    ]
    digests = [
        pretrain(method, some, params, lambda _epoch, _loss: None)[1][0]
        for some in (sources, others)
    ]
    assert digests[0] == digests[1]


@pytest.mark.rule("PRE-2")
@pytest.mark.parametrize("method", METHODS)
def test_a_task_hangs_on_seed_epoch_and_place_alone(method: str) -> None:
    params = _params()
    sources = _sources(5)
    first, again, ahead, later = (
        list(tasks(METHODS[method], sources, epoch, params, workers=workers))
        for epoch, workers in ((1, 0), (1, 0), (1, 2), (2, 0))
    )
    assert all(map(_same, first, again))
    assert all(map(_same, first, ahead))
    assert not any(map(_same, first, later))
    single = params.model_copy(
        update={
            "train": params.train.model_copy(
                update={
                    "batch": 1,
                    "pretraining": params.train.pretraining.model_copy(update={"contrast": 2}),
                }
            )
        }
    )
    alone = list(tasks(METHODS[method], sources, 1, single))
    by_place = {
        place: (batch.images[at], batch.targets[at])
        for batch in alone
        for at, place in enumerate(batch.places)
    }
    for batch in first:
        for at, place in enumerate(batch.places):
            assert torch.equal(batch.images[at], by_place[place][0])
            assert torch.equal(batch.targets[at], by_place[place][1])


@pytest.mark.rule("PRE-2")
@pytest.mark.parametrize("method", METHODS)
def test_a_task_leaves_torch_s_and_numpy_s_own_chance_alone(method: str) -> None:
    torch.manual_seed(3)
    state, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    list(tasks(METHODS[method], _sources(2), 1, _params()))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)


def test_the_masked_voxels_show_the_mean_and_the_others_themselves() -> None:
    batch = next(tasks(METHODS["masked"], _sources(), 1, _params()))
    image, hidden = batch.targets[:, :1], batch.targets[:, 1:] > 0
    assert torch.equal(batch.images[~hidden], image[~hidden])
    means = image.mean(dim=(1, 2, 3, 4), keepdim=True).expand_as(image)
    assert torch.allclose(batch.images[hidden], means[hidden], atol=1e-5)


@pytest.mark.parametrize(
    ("chosen", "rule"),
    [
        ({"shuffled": 1.0}, "the same values, some elsewhere"),
        ({"remapped": 1.0}, "the same order of values"),
        ({"painted": 1.0, "painted_around": 0.0}, "most voxels as they were"),
        ({"painted": 1.0, "painted_around": 1.0}, "some voxels as they were"),
        ({}, "nothing"),
    ],
)
def test_restoration_spoils_as_declared(chosen: dict[str, float], rule: str) -> None:
    none = {"remapped": 0.0, "shuffled": 0.0, "painted": 0.0}
    params = _params(**(none | chosen))
    sources = _sources()
    batch = next(tasks(METHODS["restoration"], sources, 1, params))
    for seen, image in zip(batch.images, batch.targets, strict=True):
        kept = float((seen == image).float().mean())
        if rule == "nothing":
            assert kept == 1
            continue
        assert kept < 1
        if "values" in rule and "order" not in rule:
            assert torch.equal(seen.flatten().sort().values, image.flatten().sort().values)
        if "order" in rule:
            order = image.flatten().argsort()
            assert (seen.flatten()[order].diff() >= -1e-4).all()
            assert torch.allclose(seen.min(), image.min())
        if "most" in rule:
            assert kept > 0.5
        if "some" in rule:
            assert 0.02 < kept < 0.9


def _loss(
    method: str, module: torch.nn.Module, objective: Any, params: Parameters, sources: Any
) -> float:
    module.eval()
    with torch.no_grad():
        found = [
            float(objective(module, batch)) for batch in tasks(METHODS[method], sources, 99, params)
        ]
    return float(np.mean(found))


@pytest.mark.rule("PRE-3")
@pytest.mark.parametrize("method", ["masked", "restoration"])
@pytest.mark.parametrize(("task", "network", "patch"), WAYS)
def test_restoring_is_learned_on_every_kind_of_network_and_leaves_the_bare_one(
    method: str, task: Task, network: Network, patch: tuple[int, int, int]
) -> None:
    params = _params(task, network, patch, patches=32, epochs=6)
    losses: list[float] = []
    sources = _sources(8, shape=(4, *patch[1:]) if patch[0] == 1 else patch)
    module, rows = pretrain(method, sources, params, lambda _epoch, loss: losses.append(loss))
    assert np.mean(losses[-2:]) < 0.85 * losses[0]
    assert rows[-1]["weights_sha256"] == weights_sha256(module)
    other, head = new_network(network, task, params.volume, 1)
    taken = take(other, bare(module).state_dict(), head, keep=False)
    assert set(taken.new) == head
    assert bare(untrained(params)).state_dict().keys() == bare(module).state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["masked", "restoration"])
@pytest.mark.parametrize(("task", "network", "patch"), WAYS[:2])
def test_what_is_restored_is_nearer_than_the_mean(
    method: str, task: Task, network: Network, patch: tuple[int, int, int]
) -> None:
    """On volumes that pre-training has not seen; the mean's error is their variance."""
    params = _params(task, network, patch, epochs=50)
    objective: Any = None
    kept = METHODS[method]

    def make(module: torch.nn.Module, some: Parameters) -> Any:
        nonlocal objective
        objective = kept.objective(module, some)
        return objective

    METHODS[method] = replace(kept, objective=make)
    try:
        seen = [source(PATCH, seed) for seed in range(16)]
        module, _ = pretrain(method, seen, params, lambda _epoch, _loss: None)
    finally:
        METHODS[method] = kept
    unseen = [source(PATCH, seed) for seed in range(100, 108)]
    error = _loss(method, module, objective, params, unseen)
    variance = np.mean([float(one.image.var()) for one in unseen])
    assert error < 0.8 * variance, (error, variance)


@pytest.mark.rule("PRE-4")
def test_a_contrastive_batch_is_shared_by_no_two_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "world", lambda: (0, 2))
    with pytest.raises(WrongUse, match="processes"):
        pretrain("contrastive", _sources(), _params(), lambda _epoch, _loss: None)


@pytest.mark.parametrize(("task", "network", "patch"), WAYS)
def test_contrast_reaches_the_backbone_and_no_head(
    task: Task, network: Network, patch: tuple[int, int, int]
) -> None:
    params = _params(task, network, patch, contrast=8)
    torch.manual_seed(0)
    module = untrained(params)
    objective = METHODS["contrastive"].objective(module, params)
    shape = (4, *patch[1:]) if patch[0] == 1 else patch
    objective(
        module, next(tasks(METHODS["contrastive"], _sources(8, shape=shape), 1, params))
    ).backward()
    reached = {name for name, value in module.named_parameters() if value.grad is not None}
    first = next(name for name, _ in module.named_parameters())
    _, head = new_network(network, task, params.volume, 1)
    assert first in reached
    assert not reached & head


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "network", "patch"),
    [
        pytest.param(TASK, NETWORK, PATCH, id="grid"),
        pytest.param(CLASSIFIED, DENSE, PATCH, id="classes"),
    ],
)
def test_contrast_tells_a_volume_s_other_view_from_other_volumes(
    task: Task, network: Network, patch: tuple[int, int, int]
) -> None:
    params = _params(task, network, patch, patches=32, epochs=8, contrast=8)
    sources = _sources(8, shape=(4, *patch[1:]) if patch[0] == 1 else patch)
    kept, made = METHODS["contrastive"], []
    METHODS["contrastive"] = replace(
        kept, objective=lambda module, some: made.append(kept.objective(module, some)) or made[0]
    )
    try:
        module, _ = pretrain("contrastive", sources, params, lambda _epoch, _loss: None)
    finally:
        METHODS["contrastive"] = kept
    module.eval()
    hits = []
    for epoch in range(90, 94):
        for batch in tasks(kept, _sources(8), epoch, params):
            with torch.no_grad():
                one, other = (
                    torch.nn.functional.normalize(made[0].projected(module, views), dim=1)
                    for views in (batch.images, batch.targets)
                )
            hits += (one @ other.T).argmax(dim=1).eq(torch.arange(len(one))).tolist()
    assert np.mean(hits) > 2 / 8, "twice as often as by chance"


@pytest.mark.rule("TRN-9")
@pytest.mark.parametrize("method", ["restoration", "contrastive"])
def test_a_pretraining_that_was_cut_off_goes_on_to_the_same_bits(
    method: str, tmp_path: Path
) -> None:
    epochs = 3
    sources, params = _sources(), _params(epochs=epochs)
    whole, rows = pretrain(method, sources, params, lambda _epoch, _loss: None)

    def cut(epoch: int, _loss: float) -> None:
        if epoch == epochs:
            raise InterruptedError

    setting = Setting(scratch=tmp_path)
    with pytest.raises(InterruptedError):
        pretrain(method, sources, params, cut, setting=setting)
    said: list[int] = []
    again, more = pretrain(
        method, sources, params, lambda epoch, _loss: said.append(epoch), setting=setting
    )
    assert said
    assert said[0] > 1, "it did not begin anew"
    assert more == rows
    assert weights_sha256(again) == weights_sha256(whole)
