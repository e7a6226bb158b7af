"""One layer's passes beside real Caffe's, and a note of what was compared with what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from numpy.typing import NDArray

from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from tests.conformance.layers.record import Record

Array = NDArray[np.float32]
Run = Callable[..., dict[str, Array]]

TOLERANCE = 1e-5
"""The largest difference allowed, as a share of the blob's largest value."""
CUDA_TOLERANCE = 1e-4
"""The same between a GPU and the CPU, whose sums are ordered differently."""
REAL = "real Caffe"
ON_CUDA = "the CPU's result"


@dataclass(frozen=True)
class Case:
    """A layer under test: its prototxt on input blobs that are filled with given values.

    Attributes:
        type: the layer's type, the row of the table that the case counts for.
        text: the layers, without the inputs; a top named `y` gets a random gradient.
        inputs: the input blobs' values by name, in order.
        phase: TRAIN or TEST.
        fixed: inputs without a gradient, such as labels.
        backward: whether real Caffe has the backward pass.
        tolerance: of both passes.
    """

    type: str
    text: str
    inputs: Mapping[str, Array]
    phase: str = "TRAIN"
    fixed: Sequence[str] = ("label",)
    backward: bool = True
    tolerance: float = TOLERANCE

    @property
    def prototxt(self) -> str:
        """The whole net, with an Input layer for each blob."""
        lines = [f'name: "case" {"force_backward: true" if self.backward else ""}']
        for name, values in self.inputs.items():
            dims = " ".join(f"dim: {dim}" for dim in values.shape)
            lines.append(
                f'layer {{ name: "{name}" type: "Input" top: "{name}" '
                f"input_param {{ shape {{ {dims} }} }} }}"
            )
        return "\n".join([*lines, self.text])


def layer(kind: str, params: str = "", bottoms: str = "x", tops: str = "y") -> str:
    """The text of one layer named `l`; bottoms and tops are names separated by blanks."""
    ends = " ".join(
        [f'bottom: "{name}"' for name in bottoms.split()] + [f'top: "{n}"' for n in tops.split()]
    )
    return f'layer {{ name: "l" type: "{kind}" {ends} {params} }}'


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    """Values of a normal distribution in float32."""
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def assert_close(ours: Array, theirs: Array, what: str, tolerance: float = TOLERANCE) -> None:
    """The largest difference is at most that share of the largest value; NaN where it should be."""
    assert ours.shape == theirs.shape, f"{what}: {ours.shape}, not {theirs.shape}"
    finite = np.isfinite(theirs)
    assert (np.isfinite(ours) == finite).all(), what
    scale = np.abs(theirs[finite]).max(initial=0)
    worst = np.abs(ours[finite] - theirs[finite]).max(initial=0)
    assert worst <= tolerance * scale, f"{what}: {worst:.3g} apart, largest value {scale:.3g}"


@dataclass
class Passes:
    """What one run of a case computed: blobs' values, gradients of inputs and of parameters."""

    net: Net
    values: dict[str, Array] = field(default_factory=dict)
    diffs: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, Array] = field(default_factory=dict)


@dataclass
class Judge:
    """Compares this engine's layers with real Caffe's, and on a GPU with its own on the CPU."""

    run: Run
    folder: Path
    record: Record

    def check(self, case: Case) -> Net:
        """Values of every blob, gradients of every input and parameter: the same as Caffe's.

        Returns:
            The net, after its passes on the CPU.
        """
        prototxt = self.folder / "net.prototxt"
        prototxt.write_text(case.prototxt)
        ours = self._ours(case, prototxt, Runtime.create(1))
        arrays = {f"blob/{name}": values for name, values in case.inputs.items()}
        arrays |= {f"param/{key}": values for key, values in _parameters(ours.net).items()}
        arrays |= {f"diff/{name}": values for name, values in _gradients(case, ours.net).items()}
        mode = "net" if case.backward else "forward"
        theirs = self.run(mode, prototxt, arrays, case.phase)
        for name, values in ours.values.items():
            assert_close(values, theirs[f"blob/{name}"], f"values of {name}", case.tolerance)
        self.record.add(case.type, "forward", REAL)
        if case.backward:
            for name, values in ours.diffs.items():
                expected = theirs[f"diff/{name}"]
                assert_close(values, expected, f"gradient of {name}", case.tolerance)
            for key, values in ours.parameters.items():
                expected = theirs[f"pdiff/{key}"]
                assert_close(values, expected, f"gradient of {key}", case.tolerance)
            self.record.add(case.type, "backward", REAL)
        if torch.cuda.is_available():
            self.check_on_cuda(case, ours)
        return ours.net

    def check_on_cuda(self, case: Case, on_cpu: Passes | None = None) -> None:
        """The passes on a GPU: the same as on the CPU."""
        prototxt = self.folder / "cuda.prototxt"
        prototxt.write_text(case.prototxt)
        cpu = on_cpu or self._ours(case, prototxt, Runtime.create(1))
        gpu = self._ours(case, prototxt, Runtime.create(1, gpu=0), cpu.net)
        for kind in ("values", "diffs", "parameters"):
            for name, expected in getattr(cpu, kind).items():
                assert_close(getattr(gpu, kind)[name], expected, f"{kind} of {name} on the GPU",
                             CUDA_TOLERANCE)  # fmt: skip
        self.record.add(case.type, "GPU", ON_CUDA)

    def _ours(
        self, case: Case, prototxt: Path, runtime: Runtime, like: Net | None = None
    ) -> Passes:
        """Both passes in this engine, with the parameters of another net where one is given."""
        net = Net.from_file(str(prototxt), getattr(caffe_pb2, case.phase), runtime=runtime)
        if like is not None:
            for layer_name, blobs in net.params.items():
                for mine, other in zip(blobs, like.params[layer_name], strict=True):
                    mine.data[...] = other.data
        net.forward(**case.inputs)
        passes = Passes(net, {name: blob.data.copy() for name, blob in net.blobs.items()})
        if case.backward:
            net.backward(**_gradients(case, net))
            passes.diffs = {
                name: net.blobs[name].diff.copy() for name in case.inputs if name not in case.fixed
            }
            passes.parameters = {
                f"{name}/{i}": blob.diff.copy()
                for name, blobs in net.params.items()
                for i, blob in enumerate(blobs)
            }
        return passes


def _parameters(net: Net) -> dict[str, Array]:
    return {
        f"{name}/{i}": blob.data.copy()
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def _gradients(case: Case, net: Net) -> dict[str, Array]:
    """A random gradient for each output of the net named `y`, `y1`, `y2`, ….`"""
    rng = np.random.default_rng(1)
    return {
        name: rng.normal(size=net.blobs[name].shape).astype(np.float32)
        for name in net.outputs
        if name.startswith("y") and case.backward
    }
