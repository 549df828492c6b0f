"""The scan: whatever is no weights refuses the file, and nothing is run."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
from helpers_pretrained import gadgets, pickled, saved, text, torch_legacy, torch_zip, zipped

from audit.errors import Refused
from stages.pretrained_archive import open_container
from stages.pretrained_limits import Limits
from stages.pretrained_scan import scan
from stages.pretrained_values import View

LIMITS = Limits()
NAMES = sorted(gadgets("x"))
STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"


def tensor(offset: bytes = b"K\x00", shape: bytes = b"K\x04\x85", stride: bytes = b"K\x01\x85"):
    """A tensor over a storage of four numbers."""
    head = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE
    return head + offset + shape + stride + b"\x89ccollections\nOrderedDict\n)RtR"


@pytest.mark.rule("WTS-4")
@pytest.mark.parametrize("name", NAMES)
def test_a_gadget_is_refused_wherever_it_stands_and_does_nothing(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    gadget = gadgets(str(canary))[name]
    good = pickle.dumps({}, 2)
    files = [
        torch_zip(gadget),
        zipped(("configs/metadata.json", b"{}"), ("models/model.pt", torch_zip(gadget))),
        torch_legacy(gadget),
        zipped(("configs/metadata.json", b"{}"), ("models/model.pt", torch_legacy(gadget))),
        *(torch_legacy(good, **{record: gadget}) for record in ("magic", "version", "system")),
        torch_legacy(good, keys=gadget),
        gadget,
    ]
    for file in files:
        with pytest.raises(Refused):
            open_container(file, LIMITS)
    assert not canary.exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_gadget_is_a_real_one(name: str, tmp_path: Path) -> None:
    """Else the test above would hold nothing."""
    canary = tmp_path / "canary"
    pickle.loads(gadgets(str(canary))[name])  # noqa: S301 - made two lines above
    assert canary.exists()


@pytest.mark.rule("WTS-4")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"ctorch._tensor\n_rebuild_from_type_v2\n", id="a name torch would take"),
        pytest.param(b"ctorch._utils\n_rebuild_wrapper_subclass\n", id="another such name"),
        pytest.param(b"c_codecs\nencode\n(" + text("a") + text("zip") + b"tR", id="a codec"),
        pytest.param(b"c\\x63ollections\nOrderedDict\n)R", id="a name in escapes"),
        pytest.param(b"ccollections\nOrderedDict\n(]tR", id="a call with arguments it needs not"),
        pytest.param(b"ctorch\nFloatStorage\n)R", id="a call of what is none"),
        pytest.param(b"ctorch\nSize\n(" + text("a") + b"tR", id="a size of text"),
        pytest.param(text("storage") + b"Q", id="a text as storage"),
        pytest.param(STORAGE.replace(b"storage", b"modules"), id="a module outside the pickle"),
        pytest.param(b"P0\n", id="a storage by name"),
        pytest.param(b"}(" + tensor() + text("a") + b"u", id="a tensor as key"),
        pytest.param(tensor() + b"K\x00K\x01s", id="an item of a tensor"),
        pytest.param(tensor() + b"}b", id="the state of a tensor"),
        pytest.param(tensor().replace(b"\x89cc", b"Ncc"), id="a gradient that is none"),
        pytest.param(
            tensor().replace(b")RtR", b")R(" + text("a") + b"K\x01utR"), id="a tensor with hooks"
        ),
        pytest.param(b"\x82\x01", id="an extension"),
        pytest.param(b"K\x00K\x01", id="two values"),
        pytest.param(b"(K\x00", id="an open mark"),
        pytest.param(b"\x86", id="a tuple of nothing"),
        pytest.param(b"h\x07", id="an empty memo"),
        pytest.param(b"\x80\x04K\x00", id="a second protocol"),
        pytest.param(b"X\xff\xff\xff\x7f", id="a text longer than the file"),
    ],
)
def test_what_weights_do_not_need_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="pre-trained file"):
        scan(pickled(body), 0, LIMITS)


@pytest.mark.rule("WTS-5")
@pytest.mark.parametrize(
    "made",
    [
        tensor(offset=b"K\x01"),
        tensor(shape=b"K\x05\x85"),
        tensor(stride=b"K\x02\x85"),
        tensor(shape=b"K\x02K\x03\x86", stride=b"K\x01K\x01\x86").replace(b"K\x04t", b"K\x03t"),
        tensor(offset=b"J\xff\xff\xff\xff"),
        tensor(stride=b"J\xff\xff\xff\xff\x85"),
        tensor(shape=b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x85"),
        tensor(shape=b"K\x02K\x02\x86"),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(made: bytes) -> None:
    assert scan(pickled(tensor()), 0, LIMITS).value.shape == (4,)
    with pytest.raises(Refused):
        scan(pickled(made), 0, LIMITS)


@pytest.mark.rule("WTS-5")
def test_one_storage_has_one_size_and_type() -> None:
    same = pickled(b"(" + STORAGE + STORAGE + b"t")
    assert len(scan(same, 0, LIMITS).value) == 2
    for old, new in ((b"K\x04t", b"K\x05t"), (b"FloatStorage", b"HalfStorage")):
        other = STORAGE.replace(old, new)
        with pytest.raises(Refused, match="two sizes"):
            scan(pickled(b"(" + STORAGE + other + b"t"), 0, LIMITS)


@pytest.mark.rule("WTS-4")
def test_depth_and_length_of_a_pickle_are_bounded() -> None:
    small = Limits(depth=3, opcodes=20)
    assert scan(pickled(b"(((ttt"), 0, small).value == (((),),)
    for body, what in ((b"((((tttt", "nests"), (b"N0" * 20 + b"N", "POP"), (b")" * 30, "opcodes")):
        with pytest.raises(Refused, match=what):
            scan(pickled(body), 0, small)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_saves_of_a_network_is_understood(legacy: bool) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = module.state_dict()
    extra = {"lr": 0.1, "betas": (0.9, 0.999), "size": torch.Size([1, 2]), "type": torch.float16}
    found = open_container(
        saved({"state_dict": state, "p": module[0].weight, "extra": extra}, legacy=legacy), LIMITS
    ).value
    views = found["state_dict"]
    assert {name: view.shape for name, view in views.items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }
    assert type(found["p"]) is View
    assert found["extra"]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("legacy", [False, True])
def test_views_that_share_a_storage_are_understood(legacy: bool) -> None:
    import torch

    whole = torch.arange(12.0).reshape(3, 4)
    state = OrderedDict(whole=whole, turned=whole.T, part=whole[1:, 2:], empty=torch.zeros(0, 3))
    found = open_container(saved(state, legacy=legacy), LIMITS).value
    assert (found["turned"].shape, found["turned"].stride) == ((4, 3), (1, 4))
    assert (found["part"].offset, found["part"].shape) == (6, (2, 2))


def test_a_pickle_that_is_cut_off_anywhere_is_refused() -> None:
    import torch

    whole = saved({"a": torch.zeros(2)}, legacy=True)
    assert open_container(whole, LIMITS).kind == "torch legacy"
    for end in range(len(whole)):
        with pytest.raises(Refused):
            open_container(whole[:end], LIMITS)
    with pytest.raises(Refused):
        open_container(whole + b"\0", LIMITS)


def test_a_file_that_is_nothing_is_refused() -> None:
    for data in (b"", b"PK\x03\x04", b"\x80\x02", b"\x1f\x8b" * 9, io.BytesIO(b"a" * 600).read()):
        with pytest.raises(Refused):
            open_container(data, LIMITS)
