"""The ultrasound example: its network takes the shared weights, and its trainings can go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "ultrasound"


@pytest.mark.rule("WTS-7")
def test_the_network_takes_every_tensor_of_the_weights_but_the_output_layer(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from benchmarks.ultrasound import settings
    from stages.train.foreign import read_foreign
    from stages.train.start import new_network, take

    params = settings()
    weights = shared_data / "weights" / "mobilenetv1x025-imagenet.tar"
    start = read_foreign({"imagenet": weights}, params, tmp_path)["imagenet"]
    record = json.loads((tmp_path / "weights" / "imagenet.json").read_bytes())
    assert [row["target"] for row in record["match"]["mismatched"]] == ["fc.bias", "fc.weight"]
    assert record["match"]["missing"] == ["fc.bias", "fc.weight"]
    assert not any(row["changes"] for row in record["match"]["taken"])
    module, head = new_network(params.network, params.task, params.volume, 1)
    assert take(module, start, head, keep=False).unused == ()
    first = module.state_dict()["network.stage1.0.0.weight"]
    assert torch.equal(first, start["stage1.0.0.weight"])


def test_folds_part_the_pictures_and_spread_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from benchmarks.ultrasound import FOLDS, folds
    from stages.cohort import Case, Sample

    classes = ["benign"] * 26 + ["malignant"] * 12 + ["normal"] * 8
    samples = [
        Sample(Case(f"s-{n}", "train", "", "1", Path(), None, label), None, None)  # type: ignore[arg-type] - not looked at
        for n, label in enumerate(classes)
    ]
    parted = folds(samples, 7)
    assert sorted(s.case.subject for _, test in parted for s in test) == sorted(
        s.case.subject for s in samples
    )
    for train, test in parted:
        assert not {s.case.subject for s in train} & {s.case.subject for s in test}
        assert len(train) + len(test) == len(samples)
        for label, count in (("benign", 26), ("malignant", 12), ("normal", 8)):
            shown = sum(s.case.label == label for s in test)
            assert count // FOLDS <= shown <= -(-count // FOLDS)
