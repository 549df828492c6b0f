"""Phantom cohorts and finished micro projects, made once for each test process."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_project import Project, make
from helpers_rebuild import Released, release

from stages.phantom.cohort import generate


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Incoming studies of a few phantom subjects, without defects."""
    folder = tmp_path_factory.mktemp("incoming")
    generate(folder, subjects=9, unlabeled=1, defects=False)
    return folder


@pytest.fixture
def project(tmp_path: Path, cohort: Path) -> Project:
    """A micro project that has not run yet."""
    return make(tmp_path, cohort)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> Released:
    """The release of a micro project; rebuild it in twins and clones, and leave it alone."""
    return release(tmp_path_factory.mktemp("released"), cohort)
