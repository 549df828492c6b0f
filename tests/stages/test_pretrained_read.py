"""Conversion in the box: good files become the same safetensors, bad ones leave nothing."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_pretrained import gadgets, saved, source_of, torch_legacy, torch_zip, zipped

from audit.errors import Refused
from stages.artifact import digest_file
from stages.pretrained_archive import open_container
from stages.pretrained_child import Request, _tensors
from stages.pretrained_limits import Limits
from stages.pretrained_match import match
from stages.pretrained_read import Import, convert

ROOT = Path(__file__).parents[2]
META = ("spleen/configs/metadata.json", b"{}")
Converted = Callable[..., Import]
DIGEST = "e8500ecde872c14c4b005c7bd83b8fabc3f0cf04edaf672556070f888e87371f"
"""Of the tensors of `state`, in whatever container they come."""


@pytest.fixture
def converted(tmp_path: Path) -> Converted:
    """Convert bytes; the file made is `out`."""

    def do(data: bytes, limits: Limits | None = None, **changes: Any) -> Import:
        (tmp_path / "given").write_bytes(data)
        try:
            return convert(tmp_path / "given", source_of(data, **changes), tmp_path / "out", limits)
        except Refused:
            assert not (tmp_path / "out").exists()
            raise

    return do


def state() -> dict[str, Any]:
    """Tensors of several types, laid out in several ways."""
    import torch

    whole = torch.arange(24.0).reshape(2, 3, 4)
    return OrderedDict(
        {
            "conv.weight": whole,
            "conv.turned": whole.permute(2, 0, 1),
            "half": torch.ones(2, dtype=torch.bfloat16),
            "count": torch.tensor(7),
            "mask": torch.tensor([True, False]),
            "empty": torch.zeros(0, 2),
            "parameter": torch.nn.Parameter(torch.full((3,), 0.5)),
        }
    )


@pytest.mark.rule("WTS-12")
@pytest.mark.parametrize(
    "kind",
    [
        *("torch legacy", "bundle"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("torch zip", "safetensors")),
    ],
)
def test_a_good_file_becomes_safetensors(kind: str, converted: Converted, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save

    whole, key = {"net": {"a": state(), "note": "best"}, "epoch": 3}, "net.a"
    data = saved(whole, legacy=kind == "torch legacy")
    if kind == "safetensors":
        flat = {name: value.clone().contiguous() for name, value in state().items()}
        data, key = save(flat, {"when": "today"}), ""
    if kind == "bundle":
        data = zipped(META, ("spleen/models/model.pt", data))
    made = converted(data, archive_key=key)
    assert made.kind == {"bundle": "torch zip in bundle"}.get(kind, kind)
    found = load_file(tmp_path / "out")
    assert found.keys() == state().keys()
    for name, value in state().items():
        assert torch.equal(found[name], value)
        assert found[name].dtype is value.dtype
    assert made.shapes == {name: tuple(value.shape) for name, value in state().items()}
    assert made.sha256 == digest_file(tmp_path / "out")
    assert made.sha256 == DIGEST


@pytest.mark.rule("WTS-11")
def test_names_beside_the_tensors_are_told(converted: Converted) -> None:
    import torch

    made = converted(saved({"w": torch.ones(1), "epoch": 3, "optimizer": {"lr": 1.0}, 5: None}))
    assert [tensor.name for tensor in made.tensors] == ["w"]
    assert made.left == ("5", "epoch", "optimizer")


@pytest.mark.rule("WTS-4")
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(gadgets("x")))
def test_a_gadget_is_refused_by_the_whole_path(
    name: str, converted: Converted, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    gadget = gadgets(str(canary))[name]
    for data in (torch_zip(gadget), torch_legacy(gadget)):
        with pytest.raises(Refused, match="pre-trained file"):
            converted(data)
    assert not canary.exists()


HOSTILE = """
import sys
from pathlib import Path
from audit.errors import Refused
from helpers_pretrained import source_of
from stages.pretrained_read import convert
data = Path(sys.argv[1]).read_bytes()
try:
    convert(Path(sys.argv[1]), source_of(data), Path(sys.argv[1] + ".out"))
except Refused as error:
    print(error)
"""


@pytest.mark.rule("WTS-4")
@pytest.mark.peer("strace")
def test_a_gadget_starts_no_process(tmp_path: Path) -> None:
    given, canary, traced = tmp_path / "given", tmp_path / "canary", tmp_path / "traced"
    given.write_bytes(torch_zip(gadgets(str(canary))["os.system by REDUCE"]))
    asked = ["strace", "-f", "-qq", "-e", "trace=execve,execveat", "-o", str(traced)]
    done = subprocess.run(
        [*asked, sys.executable, "-P", "-c", HOSTILE, str(given)],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'stages'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "asks for posix system" in done.stdout
    started = [line for line in traced.read_text().splitlines() if line.endswith("= 0")]
    assert len(started) == 2  # this script, and the child that reads
    assert "stages.pretrained_child" in started[1]
    assert not canary.exists()


@pytest.mark.rule("WTS-10")
def test_a_file_that_is_not_the_entrys_is_not_understood(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(torch_zip(gadgets("x")["INST"]))
    with pytest.raises(Refused, match="changed while it was read"):
        convert(given, source_of(b"other"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.rule("WTS-13")
def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        convert(tmp_path / "given", source_of(b""), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"


def expanded() -> bytes:
    """A tensor of a quarter of a million million numbers over a storage of one."""
    import torch

    return saved({"a": torch.zeros(1).expand(500_000, 500_000)})


@pytest.mark.rule("WTS-13")
@pytest.mark.parametrize(
    ("make", "key", "what"),
    [
        (expanded, "", "tensors of more than"),
        (lambda: saved({"a": {"b": 1}}), "", "no tensor"),
        (lambda: saved({"a": 1}), "state_dict", "no dictionary under"),
        (lambda: saved({"a b\n": state()["count"]}), "", "not plain"),
        (lambda: saved({"a": state()["half"] / 0}), "", "not finite"),
        (lambda: struct.pack("<Q", 8) + b'{"a":{}}' + b"x", "", "no whole safetensors"),
    ],
)
def test_what_is_no_set_of_weights_is_refused(
    make: Callable[[], bytes], key: str, what: str
) -> None:
    """Told by the child's own function, here: a child would take seconds for each."""
    data = make()
    request = Request(sha256="0" * 64, archive_key=key, size=1, tensors=1, limits=Limits())
    with pytest.raises(Refused, match=what):
        _tensors(open_container(data, request.limits), request)


@pytest.mark.rule("WTS-13")
def test_a_child_that_exceeds_its_time_is_ended(converted: Converted) -> None:
    with pytest.raises(Refused, match="more than 10 bytes"):
        converted(saved({}), Limits(file_bytes=10))
    many = b"\x80\x02](" + b"K\x01" * 4_000_000 + b"e."
    with pytest.raises(Refused, match="time"):
        converted(torch_zip(many), Limits(seconds=1))


@pytest.mark.rule("WTS-12")
def test_the_shared_weights_are_read_twice_alike(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "weights" / "mobilenetv1x025-imagenet.tar"
    if not path.is_file():
        pytest.skip("the shared weights are not on this machine")
    source = source_of(path.read_bytes(), archive_key="state_dict", prefix="module.")
    made = [convert(path, source, tmp_path / f"{name}.safetensors") for name in "ab"]
    assert made[0] == made[1]
    assert made[0].kind == "torch legacy"
    assert len(made[0].tensors) == 164
    assert made[0].shapes["module.stage1.0.0.weight"] == (8, 3, 3, 3)
    target = {name.removeprefix("module."): shape for name, shape in made[0].shapes.items()}
    target["fc.weight"], target["fc.bias"] = (3, 256), (3,)
    found = match(target, made[0].shapes, source)
    assert len(found.taken) == 162
    assert [row.target for row in found.mismatched] == ["fc.bias", "fc.weight"]
    assert found.missing == ("fc.bias", "fc.weight")
    assert (found.taken[0].target, found.skipped) == ("stage1.0.0.weight", ())
    shutil.rmtree(tmp_path)
