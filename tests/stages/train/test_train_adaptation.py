"""Adaptation between scanners: each way on a shift that it is for, and what none of them reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_cohort import make_cohort
from helpers_dicom import TASK
from helpers_train import batch, parameters, tiny_data
from numpy.typing import NDArray
from pydantic import ValidationError
from torch.nn.modules.batchnorm import _BatchNorm

from audit.errors import Refused, WrongUse
from stages.cohort import Sample
from stages.network import assemble, pinned
from stages.params import Network
from stages.train.adapt_features import moments_apart
from stages.train.adapt_looks import matched, swapped
from stages.train.adapt_statistics import restated
from stages.train.cache import Cache
from stages.train.cases import part, read_samples
from stages.train.data import Data
from stages.train.params import Adaptation, Augmentation, Parameters
from stages.train.source import Source, make_source
from stages.train.trial import Trained, Trial, run_trial
from stages.train.ways import PRESETS, Variant

NONE = Cache(None)

NETWORK = Network(
    arguments={"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "BATCH"}
)
ADAPTING = tuple(name for name, row in PRESETS.items() if "adapt" in row)
Look = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _params(**choices: Any) -> Parameters:
    adaptation = Adaptation(vendors=("south",), **choices.pop("adaptation", {}))
    params = parameters(
        **{
            "adaptation": adaptation,
            "learning_rate": 0.01,
            "augmentation": Augmentation(shift_voxels=1, intensity=0.0),
            **choices,
        }
    )
    return params.model_copy(update={"network": NETWORK})


def _faded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return (0.3 * array + 0.5).astype(np.float32)


def _bent(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt(np.clip(array, 0, None)).astype(np.float32)


def _data(look: Look, labeled: int = 4) -> Data:
    """Boxes as one scanner shows them with labels, others as another does without."""
    plain = tiny_data(labeled=labeled, unlabeled=0, validation=10)
    seen = [_seen(sample, look) for sample in plain.validation]
    return replace(
        plain,
        unlabeled=(),
        target=[make_source(sample, TASK, labeled=False) for sample in seen[:4]],
        validation=seen[4:],
        aside=plain.validation[4:],
    )


def _seen(sample: Sample, look: Look) -> Sample:
    prepared = replace(sample.prepared, array=look(sample.prepared.array))
    return Sample(replace(sample.case, vendor="south"), prepared, sample.labels)


def _train(name: str, data: Data, epochs: int = 12, **choices: Any) -> Trained:
    params = _params(**({"validate_every": epochs, "patches": 16} | choices))
    way = Variant(name=name, **PRESETS[name])
    with pinned(params.numerics):
        return run_trial(Trial(way, 7, epochs, name), data, params, start=None)


@pytest.fixture(scope="module")
def faded() -> Data:
    return _data(_faded)


@pytest.fixture(scope="module")
def unadapted(faded: Data) -> Trained:
    return _train("scratch", faded)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["statistics", "spectrum", "histogram"])
def test_a_way_finds_more_on_another_scanner_than_none(
    faded: Data, unadapted: Trained, name: str
) -> None:
    assert unadapted.result["aside"]["score"] > 0.8, "it learned its own scanner"
    assert unadapted.result["score"] < 0.6, "the shift is one"
    assert _train(name, faded).result["score"] > unadapted.result["score"] + 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weight"), [("correlation", 3.0), ("adversarial", 0.3)])
def test_alike_features_find_more_than_the_same_training_without_their_weight(
    faded: Data, name: str, weight: float
) -> None:
    null = _train(name, faded, adaptation={name: 0.0})
    trained = _train(name, faded, adaptation={name: weight})
    assert trained.result["score"] > null.result["score"] + 0.05


@pytest.mark.rule("ADA-1")
@pytest.mark.rule("TRN-1")
@pytest.mark.parametrize("name", ADAPTING)
def test_an_adapted_training_gives_the_same_bits_and_reads_no_label_of_the_target(
    faded: Data, name: str
) -> None:
    faded = replace(faded, validation=faded.validation[:1], aside=())
    with_labels = [
        replace(source, target=torch.ones_like(source.image), label=0) for source in faded.target
    ]
    one = _train(name, faded, epochs=2, patches=4)
    other = _train(name, replace(faded, target=with_labels), epochs=2, patches=4)
    assert one.rows == other.rows
    assert one.result == other.result
    elsewhere = replace(faded, target=[_brighter(source) for source in faded.target])
    third = _train(name, elsewhere, epochs=2, patches=4)
    assert third.result["weights_sha256"] != one.result["weights_sha256"], "it reads the images"


def _brighter(source: Source) -> Source:
    return replace(source, image=1.5 * source.image)


@pytest.mark.rule("ADA-1")
def test_a_target_s_labels_train_nobody_and_its_validation_decides(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "c", {"train": 4, "validation": 4, "unlabeled": 2})
    params = _params()
    samples, _ = read_samples(cohort, params, NONE)
    data = part(samples, params, NONE)
    assert [source.vendor for source in data.labeled] == ["north"] * 2
    assert {source.subject for source in data.target} == {"train-1", "train-3", "unlabeled-1"}
    assert all(s.target is None and s.vendor == "south" and not s.voxels for s in data.target)
    assert {sample.case.vendor for sample in data.validation} == {"south"}
    assert {sample.case.vendor for sample in data.aside} == {"north"}
    both = [replace(s, case=replace(s.case, vendor="north + south")) for s in samples]
    assert len(part([*both[:1], *samples[1:]], params, NONE).labeled) == 1, (
        "of both is the target's"
    )
    plain = part(samples, parameters(), NONE)
    assert (len(plain.labeled), len(plain.validation)) == (4, 4)
    assert not plain.target
    assert not plain.aside


@pytest.mark.rule("ADA-3")
@pytest.mark.parametrize(
    ("splits", "vendors", "message"),
    [
        ({"train": 1, "validation": 2}, ("south",), "training or unlabeled"),
        ({"train": 2, "validation": 1}, ("south",), "validation series"),
        ({"train": 2, "validation": 2}, ("north", "south"), "another vendor"),
    ],
)
def test_a_target_that_nothing_is_known_of_is_refused(
    tmp_path: Path, splits: dict[str, int], vendors: tuple[str, ...], message: str
) -> None:
    cohort = make_cohort(tmp_path / "c", splits)
    params = _params(adaptation={}).model_copy(
        update={
            "train": _params().train.model_copy(update={"adaptation": Adaptation(vendors=vendors)})
        }
    )
    samples, _ = read_samples(cohort, params, NONE)
    with pytest.raises(Refused, match=message) as caught:
        part(samples, params, NONE)
    assert caught.value.remedy


@pytest.mark.rule("ADA-3")
@pytest.mark.parametrize("name", ADAPTING)
def test_adapting_to_no_target_is_refused_with_the_parameters(name: str) -> None:
    with pytest.raises(ValidationError, match=r"train\.adaptation\.vendors"):
        parameters(variants=(name,))


@pytest.mark.rule("ADA-3")
def test_a_network_without_running_statistics_has_none_to_adapt(faded: Data) -> None:
    params = parameters(adaptation=Adaptation(vendors=("south",)))
    trial = Trial(Variant(name="x", adapt="statistics"), 7, 1, "x")
    with pytest.raises(WrongUse, match="no batch normalization"):
        run_trial(trial, faded, params, start=None)


def test_a_variant_has_one_way_to_look_at_what_is_unlabeled() -> None:
    with pytest.raises(ValidationError, match="two variants"):
        Variant(name="x", adapt="spectrum", unlabeled="mean teacher")
    with pytest.raises(ValidationError, match="privacy"):
        Variant.model_validate({"name": "x", "adapt": "histogram", "privacy": {}})


def test_statistics_are_those_of_the_target_and_nothing_else_changes(faded: Data) -> None:
    params = _params()
    torch.manual_seed(0)
    module = assemble(NETWORK, params.volume, channels=3)
    with pinned(params.numerics):
        made = restated(module, faded.target, params, 3)
    first = next(layer for layer in made.modules() if isinstance(layer, _BatchNorm))
    own = next(layer for layer in module.modules() if isinstance(layer, _BatchNorm))
    assert first.momentum == own.momentum
    assert first.running_mean is not None
    assert own.running_mean is not None
    assert not own.running_mean.any(), "a copy"
    with torch.no_grad():
        images = torch.cat([source.image + source.minimum for source in faded.target])
        seen = module.get_submodule("convInit")(images)
    assert torch.allclose(first.running_mean, seen.mean(dim=(0, 2, 3, 4)), atol=0.02)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, tensor in module.state_dict().items():
        assert name.endswith(statistics) or torch.equal(tensor, made.state_dict()[name])


def test_matched_volumes_have_the_targets_distribution_in_their_own_order() -> None:
    data = _data(_bent)
    before, after = data.labeled[0], matched(data.labeled, data.target)[0]
    one, other = (s.image.numpy().ravel() + s.minimum for s in (before, after))
    order = np.argsort(one, kind="stable")
    assert (np.diff(other[order]) >= -1e-5).all(), "an increasing map"
    wanted = np.mean(
        [np.quantile(s.image.numpy() + s.minimum, [0.1, 0.5, 0.9]) for s in data.target], axis=0
    )
    assert np.quantile(other, [0.1, 0.5, 0.9]) == pytest.approx(wanted, abs=0.02)
    assert after.target is before.target
    assert float(after.image.min()) == 0


def test_swapped_images_keep_their_edges_and_take_the_other_s_brightness() -> None:
    ours, theirs = batch((8, 16, 16), seed=1).images, 2 + batch((8, 16, 16), seed=2).images
    none, some, every = (swapped(ours + 1, theirs, share) for share in (0.0, 0.1, 0.5))
    means = [x.mean(dim=(1, 2, 3, 4)) for x in (none, some, theirs)]
    assert torch.allclose(means[0], means[2], atol=1e-4)
    assert torch.allclose(means[1], means[2], atol=1e-4)
    assert torch.allclose(
        none - means[0].view(-1, 1, 1, 1, 1),
        ours - ours.mean(dim=(1, 2, 3, 4), keepdim=True),
        atol=1e-4,
    ), "nothing but the mean"
    amplitudes = [torch.fft.fftn(x, dim=(-3, -2, -1)).abs() for x in (every, theirs)]
    assert torch.allclose(amplitudes[0], amplitudes[1], atol=1e-2)
    assert swapped(ours[:, :, :1], theirs[:, :, :1], 0.1).shape == (2, 1, 1, 16, 16)


def test_moments_are_apart_by_mean_and_by_spread() -> None:
    samples = torch.randn((500, 3), generator=torch.Generator().manual_seed(0))
    assert float(moments_apart(samples, samples)) == 0
    assert float(moments_apart(samples, samples + 2)) == pytest.approx(4, rel=1e-3)
    spread = float(moments_apart(samples - samples.mean(0), 2 * (samples - samples.mean(0))))
    assert spread == pytest.approx(9 / 3, rel=0.2)
