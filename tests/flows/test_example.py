"""The example project in the docs is whole and valid: it runs as it is copied."""

from __future__ import annotations

from pathlib import Path

from flows.parameters import load
from flows.template import IGNORE, LOCK
from stages.dataset.pin import CONFIG
from stages.dataset.pin import IGNORE as DVC_IGNORE

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "hippocampus"


def test_the_parameters_of_the_example_are_valid():
    parameters = load(EXAMPLE / "params.yaml")
    assert parameters.annotate.expert in parameters.ingest.readers.values()
    assert set(parameters.annotate.readers) <= set(parameters.ingest.readers.values())


def test_the_example_has_the_lock_of_this_kette():
    assert (EXAMPLE / "constraints.txt").read_bytes() == LOCK.read_bytes()


def test_the_example_has_the_settings_of_a_new_project():
    assert (EXAMPLE / ".gitignore").read_text().splitlines() == list(IGNORE)
    assert (EXAMPLE / ".dvc" / "config").read_text() == CONFIG
    assert (EXAMPLE / ".dvc" / ".gitignore").read_text() == DVC_IGNORE
