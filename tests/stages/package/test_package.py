"""`package` as a whole: the archive, the report, the release and its gate."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers_package import (
    HOSTILE,
    MEASURED,
    RESOLVED,
    parameters,
    plan_of,
    run_stage,
    write_trees,
)
from pydantic import ValidationError

from stages.artifact import Manifest, digest_file
from stages.bundle import CONFIG, MANIFEST, BundleConfig
from stages.package.contents import REQUIRED
from stages.package.params import Parameters
from stages.package.stage import STAGE
from stages.package.verify import check_archive
from stages.stage import Outcome, Verdict
from stages.table import write_table

ARCHIVE = "phantom-1.2.3.zip"
Built = tuple[Path, Path, Outcome]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_trees(tmp_path_factory.mktemp("trees"))


@pytest.fixture(scope="module")
def built(trees: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run_stage(trees, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def members(built: Built) -> dict[str, bytes]:
    return check_archive(built[0] / ARCHIVE)


@pytest.fixture(scope="module")
def report(built: Built) -> str:
    return (built[0] / "report.html").read_text("utf-8")


@pytest.mark.rule("PKG-1")
def test_two_builds_from_two_folders_are_the_same_bytes(
    built: Built, trees: dict[str, Path], tmp_path: Path
) -> None:
    copied = {}
    for label, path in trees.items():
        copied[label] = tmp_path / "elsewhere" / path.name
        shutil.copytree(path, copied[label])
    again, merged, _ = run_stage(copied, tmp_path / "again")
    assert Manifest.of(again) == Manifest.of(built[0])
    assert Manifest.of(merged) == Manifest.of(built[1])


@pytest.mark.rule("PKG-1")
def test_what_was_measured_is_an_input_of_the_key_and_shows_in_the_report(
    trees: dict[str, Path], tmp_path: Path, report: str
) -> None:
    slower = json.loads(json.dumps(MEASURED))
    slower["optimize"]["latency_s"]["pytorch"]["median"] = 0.9
    unit, other = (plan_of(trees, parameters(), measured) for measured in (MEASURED, slower))
    assert unit.inputs == other.inputs
    assert unit.facts != other.facts
    folder, _, _ = run_stage(trees, tmp_path, measured=slower)
    assert "pytorch 0.9 s" in (folder / "report.html").read_text("utf-8")
    assert "pytorch 0.2 s" in report


@pytest.mark.rule("PKG-2")
def test_the_manifest_names_every_other_member(members: dict[str, bytes]) -> None:
    manifest = Manifest.model_validate_json(members[MANIFEST])
    assert {entry.path for entry in manifest.files} == members.keys() - {MANIFEST}


@pytest.mark.rule("PKG-3")
def test_the_release_says_which_archive_it_is(built: Built) -> None:
    folder, merged, outcome = built
    assert json.loads((merged / "release.json").read_bytes()) == {
        "schema_version": 1,
        "bundle": ARCHIVE,
        "sha256": digest_file(folder / ARCHIVE),
        "version": "1.2.3",
        "report": "report.html",
    }
    assert outcome.gate.verdict is Verdict.PASSED
    assert {check.rule for check in outcome.gate.checks} == {"PKG-3", "PKG-4", "PKG-5"}


@pytest.mark.rule("PKG-3")
def test_a_release_without_its_onnx_model_is_refused(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(trees["optimize/targets"], tmp_path / "targets")
    (tmp_path / "targets" / "model.onnx").unlink()
    _, _, outcome = run_stage({**trees, "optimize/targets": tmp_path / "targets"}, tmp_path / "out")
    assert outcome.gate.verdict is Verdict.REFUSED
    refused = [check for check in outcome.gate.checks if check.verdict is Verdict.REFUSED]
    assert [(check.rule, check.figure) for check in refused] == [
        ("PKG-3", "missing: models/model.onnx")
    ]


@pytest.mark.rule("PKG-4")
@pytest.mark.parametrize("path", ["/home/ann/data/x", "C:\\Users\\ann\\x", "site-packages/torch"])
def test_a_path_in_a_model_is_refused(trees: dict[str, Path], tmp_path: Path, path: str) -> None:
    shutil.copytree(trees["optimize/targets"], tmp_path / "targets")
    (tmp_path / "targets" / "openvino" / "model.xml").write_text(f"<net from='{path}'/>")
    _, _, outcome = run_stage({**trees, "optimize/targets": tmp_path / "targets"}, tmp_path / "out")
    refused = [check for check in outcome.gate.checks if check.verdict is Verdict.REFUSED]
    assert [(check.rule, check.figure) for check in refused] == [
        ("PKG-4", "paths in: models/openvino/model.xml")
    ]


@pytest.mark.rule("PKG-4")
def test_no_member_holds_the_folders_of_this_run(
    built: Built, members: dict[str, bytes], trees: dict[str, Path]
) -> None:
    places = [str(path).encode() for path in (built[0], built[1], *trees.values())]
    assert not [name for name, data in members.items() if any(p in data for p in places)]


def test_a_cohort_with_one_reader_has_a_report(trees: dict[str, Path], tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(trees["dataset/cohort"], cohort)
    columns = dict.fromkeys(("structure", "reader_a", "reader_b", "dice"), "string")
    write_table(cohort / "agreement.parquet", [], columns)
    folder, _, outcome = run_stage({**trees, "dataset/cohort": cohort}, tmp_path / "out")
    assert outcome.gate.verdict is Verdict.PASSED
    text = (folder / "report.html").read_text("utf-8")
    assert "Mean agreement by structure and pair of readers:</strong> none" in text


@pytest.mark.rule("PKG-8")
def test_nothing_in_the_archive_is_pickled_or_signed(members: dict[str, bytes]) -> None:
    assert set(REQUIRED) <= members.keys()
    assert {name for name in members if name.startswith("models/")} == {
        "models/model.onnx",
        "models/model.safetensors",
        "models/openvino/model.bin",
        "models/openvino/model.xml",
    }
    assert not [n for n in members if n.endswith((".pt", ".pth", ".pkl", ".dcm", ".sig"))]
    assert not [n for n, data in members.items() if data.startswith((b"\x80", b"PK"))]


def test_the_configuration_is_what_inference_reads(members: dict[str, bytes]) -> None:
    config = BundleConfig.model_validate_json(members[CONFIG])
    params = parameters()
    assert (config.task, config.volume, config.network) == (
        params.task,
        params.volume,
        params.network,
    )
    assert list(config.models) == ["onnxruntime-cpu", "openvino-cpu"]
    assert set(config.models.values()) <= members.keys()
    assert config.limits.outside((20, 40, 40), (2.0, 1.5, 1.5)) is None
    assert config.limits.outside((20, 40, 51), (2.0, 1.5, 1.5)) is not None
    assert config.limits.outside((20, 40, 40), (2.6, 1.5, 1.5)) is not None


def test_all_resolved_parameters_stand_in_the_archive(members: dict[str, bytes]) -> None:
    assert json.loads(members["docs/params.json"]) == RESOLVED


def test_the_license_is_the_projects_own(members: dict[str, bytes]) -> None:
    root = Path(__file__).parents[3]
    assert members["LICENSE"] == (root / "LICENSE").read_bytes()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.rule("PKG-7")
def test_the_report_fetches_nothing_and_runs_nothing(report: str) -> None:
    page = _Page()
    page.feed(report)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert "url(" not in report
    assert "@import" not in report
    (policy,) = [
        a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert "default-src 'none'" in policy


@pytest.mark.rule("PKG-7")
def test_a_hostile_text_is_shown_and_not_run(report: str) -> None:
    assert "<script" not in report
    escaped = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped.replace('"', "&#34;") in report


@pytest.mark.rule("PKG-7")
@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("cohort", ["Subjects by split and vendor", "not a DICOM file", "no consensus"]),
        ("annotations", ["reader-a – reader-b", "readers disagree"]),
        ("variants", ["finetuned", "12,345", "Score"]),
        ("test", ["Alpha Imaging", "0.700 to 0.900", "90 % CI", "looked at 2 times"]),
        ("overlays", ["Subject s-test000003", "Dice of the series"]),
        ("targets", ["openvino-cpu", "1e-05", "not built here: no compiler", "Latency"]),
        ("gates", ["TRN-6", "passed"]),
        ("provenance", ["dataset/cohort", "ab" * 32, "models/model.onnx"]),
    ],
)
def test_the_report_has_what_a_reviewer_asks_for(
    report: str, section: str, words: list[str]
) -> None:
    (text,) = re.findall(rf'<section id="{section}".*?</section>', report, re.DOTALL)
    assert [word for word in words if word not in text] == []


@pytest.mark.rule("RPT-1")
@pytest.mark.rule("RPT-2")
@pytest.mark.parametrize(
    "text",
    [
        "Declared before training: ",
        "Chosen: finetuned; its score of 0.900 is the best",
        "Pre-training brings no benefit: ",
        "<caption>Screening</caption>",
        "<caption>Where variants start</caption>",
        "<caption>Cost of the comparison, as measured</caption>",
        "Learning curves: ",
    ],
)
def test_the_training_is_told_as_its_tree_has_it(report: str, text: str) -> None:
    assert text in report


@pytest.mark.rule("PKG-7")
def test_every_picture_says_what_it_shows(report: str) -> None:
    page = _Page()
    page.feed(report)
    texts = [attributes.get("alt") for tag, attributes in page.tags if tag == "img"]
    assert len(texts) == 7
    assert all(texts)


def test_the_report_in_the_archive_is_the_one_beside_it(
    members: dict[str, bytes], report: str
) -> None:
    assert members["docs/report.html"].decode() == report


def test_the_plan_names_every_tree_that_is_read(trees: dict[str, Path]) -> None:
    unit = plan_of(trees, parameters(), MEASURED)
    assert unit.inputs.keys() == trees.keys()
    assert not STAGE.numeric


@pytest.mark.parametrize("version", ["1", "1.2", "01.2.3", "1.2.3 ", "../1.2.3", "1.2.3-"])
def test_a_version_is_semantic(version: str) -> None:
    with pytest.raises(ValidationError):
        parameters(version=version)


def test_importing_the_stage_imports_no_drawing_or_training() -> None:
    code = "import sys, stages.package.stage; print([m for m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    for heavy in ("matplotlib", "torch", "cyclonedx", "pyarrow", "jinja2", "highdicom"):
        assert f"'{heavy}'" not in run.stdout


def test_the_archive_is_a_plain_zip(built: Built) -> None:
    with zipfile.ZipFile(built[0] / ARCHIVE) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())


def test_the_parameters_are_their_own_round_trip() -> None:
    params = parameters()
    assert Parameters.model_validate(params.model_dump(mode="json", by_alias=True)) == params
