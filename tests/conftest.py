"""What every test shares: an environment without the user's settings, and skips that are told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a KETTE_HOME of its own and none of the user's settings."""
    for name in [name for name in os.environ if name.startswith(("KETTE_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KETTE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def shared_data() -> Path:
    """The shared test data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the shared test data (../shared/data) is not on this machine")
    return SHARED


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real peer program is not installed, and say so."""
    for mark in item.iter_markers("peer"):
        for program in mark.args:
            if shutil.which(program) is None:
                pytest.skip(f"the peer program {program} is not installed")
