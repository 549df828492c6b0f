"""The same bytes: twice, alone or among others, and on another instruction set."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_phantom import of, read_all, small_cohort
from numpy._core._multiarray_umath import (  # type: ignore[import-not-found,unused-ignore]
    __cpu_dispatch__,
    __cpu_features__,
)

from stages.phantom.cohort import generate

_ONE_OF_EACH = """
import sys
from pathlib import Path
from stages.phantom.cohort import generate
generate(Path(sys.argv[1]), subjects=3, unlabeled=0)
"""


@pytest.mark.rule("PHA-1")
def test_a_cohort_has_the_same_bytes_twice(tmp_path: Path) -> None:
    known, files = small_cohort()
    again = generate(tmp_path, subjects=6, unlabeled=1)
    assert again == known
    assert read_all(tmp_path) == files


@pytest.mark.rule("PHA-1")
def test_another_instruction_set_writes_the_same_bytes(tmp_path: Path) -> None:
    extra = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if not extra:
        pytest.skip("this CPU has no instruction set beyond NumPy's baseline to switch off")
    digests = []
    for off in ("", " ".join(extra)):
        out = tmp_path / (off or "all")
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": off}
        call = [sys.executable, "-W", "error", "-c", _ONE_OF_EACH, str(out)]
        subprocess.run(call, check=True, env=environment, cwd=Path(__file__).parents[3])
        files = read_all(out)
        assert len(files) > 80
        digests.append({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    assert digests[0] == digests[1]


@pytest.mark.rule("PHA-2")
def test_a_subject_alone_has_the_bytes_it_has_among_others(tmp_path: Path) -> None:
    known, files = small_cohort()
    for subject in known.subjects[3:5]:
        out = tmp_path / str(subject.number)
        generate(out, subjects=1, unlabeled=0, first=subject.number)
        alone = of(read_all(out), subject)
        assert alone == of(files, subject)
        assert alone


@pytest.mark.rule("PHA-2")
def test_one_more_subject_adds_files_and_changes_none(tmp_path: Path) -> None:
    known, files = small_cohort()
    generate(tmp_path, subjects=7, unlabeled=1)
    longer = read_all(tmp_path)
    assert files.items() < longer.items()
    folders = {name.split("/")[0] for name in longer.keys() - files.keys()}
    assert len(folders) == 1
    assert folders.isdisjoint({subject.folder for subject in known.subjects})


@pytest.mark.rule("PHA-2")
def test_no_defects_means_none(tmp_path: Path) -> None:
    known = generate(tmp_path, subjects=1, unlabeled=0, defects=False)
    assert [subject.defect for subject in known.subjects] == [None]
    assert sum("SEG_" in name for name in read_all(tmp_path)) == 3
