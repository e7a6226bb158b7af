"""Runs one net with real Caffe and with this engine, in one folder."""

from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch.net import Net
from tests.conformance.layers.judge import REAL, Array, Run
from tests.conformance.layers.record import Record


class Both:
    """Runs one net with both engines in one folder."""

    def __init__(self, run: Run, folder: Path, record: Record) -> None:
        self.run = run
        self.folder = folder
        self.record = record

    def __call__(self, text: str, phase: str = "TEST") -> tuple[dict[str, Array], dict[str, Array]]:
        """What real Caffe's blobs hold after a pass, and what ours hold."""
        path = self.folder / "net.prototxt"
        path.write_text(text)
        theirs = self.run("forward", path, {}, phase, cwd=self.folder)
        net = Net.from_file(str(path), getattr(caffe_pb2, phase))
        net.forward()
        ours = {name: blob.data.copy() for name, blob in net.blobs.items()}
        return {name.removeprefix("blob/"): values for name, values in theirs.items()}, ours

    def same(self, layer: str, text: str, phase: str = "TEST") -> dict[str, Array]:
        """Both have exactly the same values, which are returned."""
        theirs, ours = self(text, phase)
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            assert ours[name].shape == values.shape, name
            assert np.array_equal(ours[name], values), name
        self.record.add(layer, "forward", REAL)
        return ours
