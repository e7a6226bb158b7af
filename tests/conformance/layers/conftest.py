"""The judge of the layer tests, and the record of a session's judgements."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.layers.judge import Judge, Run
from tests.conformance.layers.record import Record

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs" / "caffe-layers.md"


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """Notes what was compared; kept in build/conformance, and UPDATE_LAYER_TABLE=1 writes it
    into the documentation."""
    notes = Record()
    yield notes
    notes.save(REPOSITORY / "build" / "conformance" / "layers.json")
    if os.environ.get("UPDATE_LAYER_TABLE") == "1":
        notes.write(PAGE)


@pytest.fixture(scope="session")
def judge(pycaffe_run: Run, record: Record, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Compares a case with real Caffe."""
    return Judge(pycaffe_run, tmp_path_factory.mktemp("layers"), record)
