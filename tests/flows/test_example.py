"""The example project in the docs is whole and valid: it runs as it is copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.parameters import load
from flows.template import IGNORE, LOCK
from stages.dataset.pin import CONFIG
from stages.dataset.pin import IGNORE as DVC_IGNORE

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir())


def test_the_readers_of_the_example_are_those_that_keep_a_name():
    parameters = load(EXAMPLES / "hippocampus" / "params.yaml")
    assert parameters.annotate.expert in parameters.ingest.readers.values()
    assert set(parameters.annotate.readers) <= set(parameters.ingest.readers.values())


def test_the_network_of_the_ultrasound_example_answers_a_picture_with_its_classes(monkeypatch):
    from stages.network import build  # it imports torch

    monkeypatch.syspath_prepend(str(EXAMPLES / "ultrasound"))
    parameters = load(EXAMPLES / "ultrasound" / "params.yaml")
    build(parameters.network, parameters.task, parameters.volume)  # refuses another shape


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_of_an_example_are_valid(name: str):
    assert load(EXAMPLES / name / "params.yaml").project.name == name


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_the_lock_of_this_kette(name: str):
    assert (EXAMPLES / name / "constraints.txt").read_bytes() == LOCK.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_the_settings_of_a_new_project(name: str):
    example = EXAMPLES / name
    assert (example / ".gitignore").read_text().splitlines() == list(IGNORE)
    assert (example / ".dvc" / "config").read_text() == CONFIG
    assert (example / ".dvc" / ".gitignore").read_text() == DVC_IGNORE
