"""The documentation's table says what the tests of this folder judged, no more and no less."""

import pytest
import torch

from caffe_torch.layers import Layer
from tests.conformance.layers.conftest import PAGE
from tests.conformance.layers.judge import REAL
from tests.conformance.layers.record import NO_GPU, Record, published_rows

pytestmark = pytest.mark.conformance


# Scripts may register layers of their own, such as Python's.
LAYERS = {kind for kind, cls in Layer.registry.items() if "caffe_torch.layers" in cls.__module__}


def test_every_layer_has_a_row() -> None:
    assert set(published_rows(PAGE)) == LAYERS


def test_the_rows_are_what_this_session_judged(record: Record) -> None:
    """Whatever was judged before this test, here the whole folder or a part, stands there."""
    rows = published_rows(PAGE)
    whole = set(record.counts) == LAYERS
    for layer in record.counts:
        published = [cell.strip() for cell in rows[layer].split("|")[2:5]]
        for which, cell in zip(("forward", "backward", "GPU"), published, strict=True):
            judged = record.oracles(layer, which)
            stated = set(cell.split("; ")) - {"—"}
            if which == "GPU" and (not judged or stated == {NO_GPU}):
                continue  # the page may be of another machine
            assert judged <= stated, f"{layer}, {which}: {judged}, not on the page"
            if whole:
                assert stated == judged, f"{layer}, {which}: only {judged} of {stated} was judged"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_every_judged_layer_was_also_run_on_the_gpu(record: Record) -> None:
    """Each case that the judge compared with real Caffe ran on the GPU too."""
    for layer in record.counts:
        if record.oracles(layer, "backward") & {REAL}:
            assert record.oracles(layer, "GPU"), layer
