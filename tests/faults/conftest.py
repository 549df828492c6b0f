"""The world of a release is the one of the tests of `flows`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "flows"))
