"""Ways of transfer: presets, and what each of them trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_dicom import TASK
from helpers_train import NETWORK, batch, parameters, tiny_data
from pydantic import ValidationError

from audit.errors import Fault, Refused, WrongUse
from stages.network import assemble, weights_sha256
from stages.params import Network
from stages.train import adapters
from stages.train.batches import batches
from stages.train.data import Data
from stages.train.params import TrainParams
from stages.train.privacy import noise, steps_of
from stages.train.setting import Setting
from stages.train.start import new_network
from stages.train.trial import Trial, run_trial
from stages.train.ways import PRESETS, Privacy

PARAMS = parameters()


@pytest.fixture(scope="module")
def data() -> Data:
    return tiny_data()


@pytest.fixture(scope="module")
def start() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return assemble(NETWORK, PARAMS.volume, channels=3).state_dict()


def _trial(name: str, epochs: int = 2, **choices: Any) -> Trial:
    way = TrainParams(variants=({"name": name, "like": name, **choices},)).ways[name]
    return Trial(way, 7, epochs, name)


def test_a_list_names_presets_or_makes_variants_of_its_own() -> None:
    train = TrainParams.model_validate(
        {
            "variants": ["scratch", {"name": "lora-8", "like": "lora", "rank": 8}],
            "pretrained": "restoration",
        }
    )
    assert train.ways["scratch"].start == "random"
    assert train.ways["lora-8"].start == "restoration"
    assert (train.ways["lora-8"].trains, train.ways["lora-8"].rank) == ("adapters", 8)
    again = TrainParams.model_validate(train.model_dump(mode="json"))
    assert again == train
    with pytest.raises(ValidationError, match="no way of transfer"):
        TrainParams.model_validate({"variants": ["magic"]})
    with pytest.raises(ValidationError, match="no way of transfer"):
        TrainParams.model_validate({"variants": [{"name": "x", "like": "magic"}]})


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_variant(preset: str) -> None:
    assert TrainParams(variants=(preset,)).ways[preset].name == preset


def test_a_start_that_nobody_declared_is_refused() -> None:
    with pytest.raises(WrongUse, match="imagenet"):
        parameters(variants=("finetuned",), pretrained="imagenet").foreign  # noqa: B018


@pytest.mark.rule("TRN-4")
def test_zero_shot_trains_nothing_and_keeps_the_head(
    data: Data, start: dict[str, torch.Tensor]
) -> None:
    trained = run_trial(_trial("zero-shot"), data, PARAMS, start=start)
    assert trained.rows == []
    assert trained.result["trained_parameters"] == 0
    assert trained.result["selected_epoch"] == 0
    assert all(torch.equal(trained.module.state_dict()[name], start[name]) for name in start)


@pytest.mark.rule("TRN-4")
def test_a_head_that_does_not_fit_is_not_kept(data: Data) -> None:
    start = assemble(NETWORK, PARAMS.volume, channels=5).state_dict()
    with pytest.raises(Refused, match="conv_final"):
        run_trial(_trial("zero-shot"), data, PARAMS, start=start)


@pytest.mark.rule("TRN-4")
def test_a_probe_changes_the_head_alone(data: Data, start: dict[str, torch.Tensor]) -> None:
    trained = run_trial(_trial("probe"), data, PARAMS, start=start)
    kept = trained.module.state_dict()
    changed = {name for name in start if not torch.equal(kept[name], start[name])}
    assert changed == {"conv_final.2.conv.bias", "conv_final.2.conv.weight"}
    assert trained.result["trained_parameters"] == 27


@pytest.mark.rule("TRN-4")
def test_adapters_learn_beside_frozen_weights_and_are_merged(
    data: Data, start: dict[str, torch.Tensor]
) -> None:
    trained = run_trial(_trial("lora", rank=1), data, PARAMS, start=start)
    kept = trained.module.state_dict()
    assert kept.keys() == start.keys(), "plain weights, no adapter"
    for name in ("convInit.conv.weight", "down_layers.1.1.conv1.conv.weight"):
        learned = kept[name] - start[name]
        assert torch.linalg.matrix_rank(learned.flatten(1), rtol=1e-3) == 1
    norms = [name for name in start if start[name].ndim == 1 and not name.startswith("conv_final")]
    assert all(torch.equal(kept[name], start[name]) for name in norms)
    assert trained.result["trained_parameters"] < 0.15 * trained.result["parameters"]
    assert (
        trained.rows[trained.result["selected_epoch"] - 1]["weights_sha256"]
        == (trained.result["weights_sha256"])
    )


def test_an_adapter_changes_nothing_before_it_learns() -> None:
    module, head = new_network(NETWORK, TASK, PARAMS.volume, 0)
    images = batch(PARAMS.volume.patch).images
    module.eval()
    with torch.no_grad():
        before = module(images)
        adapters.insert(module, head, 4, 1)
        assert torch.equal(module(images), before)
    plain, _ = new_network(NETWORK, TASK, PARAMS.volume, 9)
    with torch.no_grad():
        assert torch.allclose(adapters.merge(module, plain).eval()(images), before, atol=1e-6)
    assert adapters.merge(plain, module) is plain


@pytest.mark.rule("TRN-9")
@pytest.mark.parametrize("preset", ["finetuned", "lora", "gradual"])
def test_a_trial_that_was_cut_off_goes_on_to_the_same_bits(
    data: Data, start: dict[str, torch.Tensor], tmp_path: Path, preset: str
) -> None:
    trial = _trial(preset, epochs=3)
    whole = run_trial(trial, data, PARAMS, start=start)

    def cut(epoch: int, _loss: float) -> None:
        if epoch == 2:
            raise Fault("cut off", "go on")

    setting = Setting(scratch=tmp_path)
    with pytest.raises(Fault, match="cut off"):
        run_trial(trial, data, PARAMS, start=start, setting=replace(setting, say=cut))
    said: list[int] = []
    telling = replace(setting, say=lambda epoch, _loss: said.append(epoch))
    again = run_trial(trial, data, PARAMS, start=start, setting=telling)
    assert said
    assert said[0] > 1, "it did not begin anew"
    assert again.rows == whole.rows
    assert again.result == whole.result
    assert again.outcomes == whole.outcomes
    assert weights_sha256(again.module) == weights_sha256(whole.module)
    said.clear()
    third = run_trial(trial, data, PARAMS, start=start, setting=telling)
    assert said == [], "a finished trial is not trained again"
    assert third.result == whole.result


def test_patience_ends_a_training_early(data: Data) -> None:
    params = parameters(patience=1, validate_every=1, learning_rate=1e-9)
    trained = run_trial(_trial("scratch", epochs=9), data, params, start=None)
    assert len(trained.rows) == 2
    assert trained.result["selected_epoch"] == 1


def test_curves_are_left_for_tensorboard(data: Data, tmp_path: Path) -> None:
    run_trial(_trial("scratch"), data, PARAMS, start=None, setting=Setting(logs=tmp_path))
    files = list((tmp_path / "scratch").glob("events.out.tfevents*"))
    assert files
    assert any(b"score" in file.read_bytes() for file in files)


@pytest.mark.rule("TRN-10")
def test_private_training_clips_and_noises_and_says_what_holds(
    data: Data, start: dict[str, torch.Tensor]
) -> None:
    strict = Privacy(epsilon=2.0, delta=0.01)
    trained = run_trial(_trial("private", privacy=strict), data, PARAMS, start=start)
    said = trained.result["privacy"]
    assert said["epsilon"] == 2.0
    assert said["unit"] == "training series"
    assert said["noise_multiplier"] > 0.5
    looser = noise(Privacy(epsilon=8.0, delta=0.01), 4, 2, 4).multiplier
    assert said["noise_multiplier"] > looser
    again = run_trial(_trial("private", privacy=strict), data, PARAMS, start=start)
    assert again.result == trained.result
    other = run_trial(replace(_trial("private", privacy=strict), seed=8), data, PARAMS, start=start)
    assert other.result["weights_sha256"] != trained.result["weights_sha256"]


@pytest.mark.rule("TRN-10")
def test_the_noise_is_what_the_accountant_of_the_sampling_asks_for() -> None:
    from opacus.accountants import RDPAccountant

    found = noise(Privacy(epsilon=3.0, delta=1e-3), 100, 4, 500)
    accountant = RDPAccountant()
    for _ in range(500):
        accountant.step(noise_multiplier=found.multiplier, sample_rate=0.04)
    assert 2.9 < accountant.get_epsilon(1e-3) <= 3.0 + 1e-6
    assert steps_of(100, 4, None, 20) == 500


@pytest.mark.rule("TRN-10")
def test_batches_by_chance_take_every_source_with_the_same_chance(data: Data) -> None:
    sizes = []
    for epoch in range(1, 40):
        for one in batches(
            data.labeled, epoch, PARAMS.volume.patch, PARAMS.train, 7, by_chance=True
        ):
            sizes.append(len(one.images))
            assert len({place[1] for place in one.places}) == len(one.places)
    assert 0 in sizes, "a batch may be empty"
    assert sum(sizes) / len(sizes) == pytest.approx(PARAMS.train.batch, rel=0.2)


@pytest.mark.rule("TRN-10")
def test_a_network_that_works_in_place_cannot_be_private_as_a_whole(data: Data) -> None:
    with pytest.raises(WrongUse, match="in place"):
        run_trial(_trial("private", trains="all", start="random"), data, PARAMS, start=None)


@pytest.mark.rule("TRN-4")
def test_only_a_source_that_answers_the_task_keeps_its_head() -> None:
    with pytest.raises(WrongUse, match="keeps the head"):
        parameters(variants=("zero-shot",)).foreign  # noqa: B018


@pytest.mark.rule("TRN-10")
def test_a_network_that_looks_across_a_batch_cannot_be_private(data: Data) -> None:
    network = Network(
        arguments={"init_filters": 4, "blocks_down": (1, 1), "blocks_up": (1,), "norm": "BATCH"}
    )
    params = PARAMS.model_copy(update={"network": network})
    with pytest.raises(WrongUse, match="across the cases"):
        run_trial(_trial("private", trains="all"), data, params, start=None)
