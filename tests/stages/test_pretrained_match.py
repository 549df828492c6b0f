"""Matching by name and shape: everything is accounted for, nothing is changed undeclared."""

from __future__ import annotations

import pytest
from helpers_pretrained import source_of
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import Refused
from stages.pretrained_match import INFLATED, SUMMED, Shapes, fitted, match, rename

NAMES = st.sampled_from(["a", "m.a", "m.b", "b", "m.c.d"])
SHAPES = st.sampled_from([(2,), (3,), (4, 3, 2, 2), (4, 1, 2, 2), (4, 1, 3, 2, 2)])
STATE = st.dictionaries(NAMES, SHAPES)


@pytest.mark.rule("WTS-7")
@given(target=STATE, found=STATE, inflate=st.booleans(), adapt=st.booleans())
def test_every_tensor_is_accounted_for(
    target: Shapes, found: Shapes, inflate: bool, adapt: bool
) -> None:
    source = source_of(b"", prefix="m.", inflate=inflate, adapt_channels=adapt)
    made = match(target, found, source)
    used = [row.source for row in made.taken]
    odd = [row.source for row in made.mismatched]
    assert sorted([*used, *odd, *made.skipped]) == sorted(found)
    assert sorted([*(row.target for row in made.taken), *made.missing]) == sorted(target)
    assert all(row.changes == () or inflate or adapt for row in made.taken)


@pytest.mark.rule("WTS-7")
def test_names_are_shown_with_their_shapes() -> None:
    target = {"conv.weight": (4, 1, 3, 3), "head.weight": (2, 4), "new": (1,)}
    found = {"module.conv.weight": (4, 1, 3, 3), "module.head.weight": (1000, 4), "other": (1,)}
    made = match(target, found, source_of(b"", prefix="module."))
    assert [(row.source, row.target) for row in made.taken] == [
        ("module.conv.weight", "conv.weight")
    ]
    assert made.skipped == ("other",)
    assert [(row.target, row.target_shape, row.source_shape) for row in made.mismatched] == [
        ("head.weight", (2, 4), (1000, 4))
    ]
    assert made.missing == ("head.weight", "new")


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("m.stage1.0.weight", "encoder.1.0.weight"),
        ("m.stage1.norm", "norm"),
        ("m.stage2.0", "stage2.0"),
        ("m.fc.bias", None),
        ("m.exact", "other"),
        ("stage1.0.weight", None),
    ],
)
def test_the_longest_pattern_names_a_tensor(name: str, new: str | None) -> None:
    mapping = {
        "stage1.*": "encoder.1.*",
        "stage1.norm": "norm",
        "fc.*": None,
        "exact": "other",
        "*t": "*t",
    }
    assert rename(name, source_of(b"", prefix="m.", mapping=mapping)) == new


@pytest.mark.rule("WTS-7")
def test_two_tensors_of_one_name_are_refused() -> None:
    source = source_of(b"", mapping={"a.*": "x.*", "b.*": "x.*"})
    with pytest.raises(Refused, match=r"both named x\.w"):
        match({"x.w": (1,)}, {"a.w": (1,), "b.w": (1,)}, source)


@pytest.mark.rule("WTS-8")
def test_kernels_change_only_as_declared() -> None:
    import torch

    kernel = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    found = {"w": tuple(kernel.shape)}
    flat, deep = {"w": (4, 1, 2, 2)}, {"w": (4, 1, 3, 2, 2)}
    both = source_of(b"", inflate=True, adapt_channels=True)
    for source in (source_of(b""), source_of(b"", inflate=True)):
        assert match(flat, found, source).missing == ("w",)
    assert match(flat, found, both).taken[0].changes == (SUMMED,)
    made = match(deep, found, both)
    assert made.taken[0].changes == (SUMMED, INFLATED)

    image = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(2))
    gray = fitted(match(flat, found, both), {"w": kernel}, flat)["w"]
    answer = torch.nn.functional.conv2d(image.expand(1, 3, 5, 5), kernel)
    assert torch.allclose(torch.nn.functional.conv2d(image, gray), answer, atol=1e-5)
    inflated = fitted(made, {"w": kernel}, deep)["w"]
    assert tuple(inflated.shape) == deep["w"]
    stack = image.unsqueeze(2).expand(1, 1, 3, 5, 5)
    deepened = torch.nn.functional.conv3d(stack, inflated).squeeze(2)
    assert torch.allclose(deepened, answer, atol=1e-5)


@pytest.mark.rule("WTS-8")
def test_a_depthwise_kernel_is_not_taken_for_a_first_one() -> None:
    source = source_of(b"", adapt_channels=True)
    assert match({"w": (8, 1, 3, 3)}, {"w": (8, 8, 3, 3)}, source).missing == ("w",)
    assert match({"w": (8, 1, 3, 3)}, {"w": (8, 1, 3, 3)}, source).taken[0].changes == ()
    assert match({"w": (8, 1)}, {"w": (8, 3)}, source).missing == ("w",)
