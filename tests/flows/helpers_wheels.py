"""A folder of wheels that is all pip may ask."""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

INSTALLED = version("packaging")
WHEEL = f"packaging-{INSTALLED}-py3-none-any.whl"
_INFO = f"packaging-{INSTALLED}.dist-info"
_MEMBERS = {
    "packaging/__init__.py": "",
    f"{_INFO}/METADATA": f"Metadata-Version: 2.1\nName: packaging\nVersion: {INSTALLED}\n",
    f"{_INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{_INFO}/RECORD": "",
}


def only_these_wheels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find an empty wheel of `packaging`, by the version installed, and nothing else."""
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for name, text in _MEMBERS.items():
            wheel.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
