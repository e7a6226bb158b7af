"""The authors' own files, for the tests of the search."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def runs(reference: Path) -> Path:
    return reference / "authors-runs"
