from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from audit.errors import WrongUse
from stages import key as keys
from stages.lock import check_environment, lock_digest, read_lock


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of `stages/` whose code digests are taken."""
    root = tmp_path / "stages"
    shutil.copytree(Path(keys.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keys, "ROOT", root)
    keys.code_files.cache_clear()
    yield root
    keys.code_files.cache_clear()


def _digests() -> dict[str, str]:
    keys.code_files.cache_clear()
    return {name: keys.code_digest(name) for name in ("ingest", "train", "package")}


@pytest.mark.rule("KEY-2")
def test_a_comment_in_a_stage_changes_that_stage_alone(tree):
    before = _digests()
    with (tree / "train" / "stage.py").open("a") as file:
        file.write("# a comment\n")
    after = _digests()
    assert {name for name in before if before[name] != after[name]} == {"train"}


@pytest.mark.rule("KEY-1")
def test_a_shared_module_changes_the_stages_that_import_it(tree):
    before = _digests()
    with (tree / "network.py").open("a") as file:
        file.write("# a comment\n")
    after = _digests()
    assert before["train"] != after["train"]
    assert before["ingest"] == after["ingest"]


@pytest.mark.rule("KEY-1")
def test_a_data_table_of_a_stage_is_part_of_its_code(tree):
    before = _digests()
    (tree / "ingest" / "another.csv").write_text("x\n")
    assert _digests()["ingest"] != before["ingest"]


@pytest.mark.rule("KEY-3")
def test_a_class_of_a_pinned_library_needs_no_digest_of_its_own(tmp_path):
    assert keys.class_digests(("monai.networks.nets.UNet",), tmp_path, {"monai": "1"}) == {}


@pytest.mark.rule("KEY-3")
def test_a_class_of_the_project_is_keyed_by_its_source(tmp_path):
    (tmp_path / "own.py").write_text("class Net: ...\n")
    first = keys.class_digests(("own.Net",), tmp_path, {})
    (tmp_path / "own.py").write_text("class Net: pass\n")
    assert first != keys.class_digests(("own.Net",), tmp_path, {})
    with pytest.raises(WrongUse, match=r"absent\.Net"):
        keys.class_digests(("absent.Net",), tmp_path, {})


@pytest.mark.rule("LCK-2")
def test_a_comment_or_order_in_the_lock_changes_nothing(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a==1\nb==2  # why\n")
    two.write_text("# lock\nb==2\na==1\n")
    assert lock_digest(read_lock(one)) == lock_digest(read_lock(two))


@pytest.mark.rule("LCK-1")
def test_an_environment_that_is_not_the_locks_is_refused_by_name():
    with pytest.raises(WrongUse, match="pytest"):
        check_environment({"pytest": "0.1"})


def test_a_line_that_is_no_pin_is_named(tmp_path):
    (tmp_path / "lock").write_text("a==1\nb>=2\n")
    with pytest.raises(WrongUse, match="Line 2"):
        read_lock(tmp_path / "lock")
