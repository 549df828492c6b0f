"""Overlays within the pixels are cleared; the stored bits stay."""

from pathlib import Path

import numpy as np
import pytest
from helpers_ingest import change, ct, ingest, new_vault, parameters, save
from pydicom.dataset import Dataset

from stages.ingest.overlay import clear
from stages.ingest.quarantine import Reason


@pytest.mark.rule("OVL-2")
@pytest.mark.parametrize("low", [0, 4])
@pytest.mark.parametrize("signed", [False, True])
def test_every_unused_bit_is_cleared_and_every_stored_one_stays(low: int, *, signed: bool) -> None:
    words = np.arange(1 << 16, dtype="<u2")
    value = clear(words.tobytes(), bits=16, stored=12, high=low + 11, signed=signed)
    assert value is not None
    cleared = np.frombuffer(value, "<u2")
    assert ((cleared >> low) & 0xFFF == (words >> low) & 0xFFF).all()
    assert not (cleared & ((1 << low) - 1)).any()
    if low == 0:
        sign = (words >> 11) & 1 if signed else np.zeros_like(words)
        assert (cleared >> 12 == np.where(sign, 15, 0)).all()


@pytest.mark.rule("OVL-3")
@pytest.mark.parametrize(
    ("bits", "stored", "high"), [(32, 12, 11), (16, 12, 10), (16, 0, 0), (16, 12, 16)]
)
def test_what_cannot_be_cleared_is_not(bits: int, stored: int, high: int) -> None:
    assert clear(bytes(8), bits=bits, stored=stored, high=high, signed=False) is None


def with_overlay(dataset: Dataset, position: int = 12) -> Dataset:
    pixels = np.frombuffer(dataset.PixelData, "<u2") | np.uint16(1 << 12)
    dataset.add_new((0x6000, 0x0010), "US", 4)
    dataset.add_new((0x6000, 0x0011), "US", 4)
    dataset.add_new((0x6000, 0x0100), "US", 16)
    dataset.add_new((0x6000, 0x0102), "US", position)
    return change(dataset, BitsStored=12, HighBit=11, PixelData=pixels.tobytes())


@pytest.mark.rule("OVL-1")
def test_an_overlay_in_the_pixels_of_any_slice_is_cleared(tmp_path: Path) -> None:
    plain = [change(ct(index), BitsStored=12, HighBit=11) for index in range(5)]
    sources = [with_overlay(ct(index)) if index in (1, 2) else plain[index] for index in range(5)]
    result = ingest(
        tmp_path / "out",
        save(tmp_path / "in", *sources),
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(pixels={"sampled": 0}),
    )
    assert result.reasons == []
    found = sorted(output.PixelData for output in result.datasets)
    assert found == sorted(dataset.PixelData for dataset in plain)
    assert not any(0x6000 <= element.tag.group <= 0x60FF for o in result.datasets for element in o)


@pytest.mark.rule("OVL-3")
def test_an_overlay_that_cannot_be_cleared_quarantines(tmp_path: Path) -> None:
    sources = [change(with_overlay(ct(index)), HighBit=3) for index in range(3)]
    vault = new_vault(tmp_path / "vault")
    result = ingest(tmp_path / "out", save(tmp_path / "in", *sources), vault_folder=vault)
    assert result.reasons == [Reason.OVERLAY] * 3
