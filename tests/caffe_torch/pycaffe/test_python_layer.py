"""Layers written in Python: what is refused, and the engine's own way of training with them.

Values, gradients and training are judged by real Caffe, in the conformance tests.
"""

from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format

from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from caffe_torch.shim import caffe

MODULE = """
from caffe_torch.shim import caffe

seen = []


class Square(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data ** 2

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 2 * bottom[0].data * top[0].diff


class Sink(caffe.Layer):
    def forward(self, bottom, top):
        seen.append(bottom[0].data.copy())


class Nothing:
    pass
"""
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "square" type: "Python" bottom: "ip" top: "square"
  python_param { module: "module_of_layers" layer: "Square" } }
layer { name: "sum" type: "Reduction" bottom: "square" top: "sum" loss_weight: 1 }
"""
X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_of_layers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def engine_net(text: str) -> Net:
    return Net(text_format.Parse(text, caffe_pb2.NetParameter()), Runtime.create(1))


def test_the_engines_training_pass_reaches_through_it() -> None:
    """The loss is Σ (W x)², whose gradient in W is 2 Σ (W x) xᵀ."""
    net = engine_net(NET)
    net.blobs["x"].data[...] = X
    weights = net.params["ip"][0].data.astype(float)
    y = X.astype(float) @ weights.T
    assert float(net.forward_backward()) == pytest.approx((y**2).sum(), rel=1e-5)
    np.testing.assert_allclose(net.params["ip"][0].diff, 2 * y.T @ X, rtol=1e-4, atol=1e-6)


def test_one_without_tops_sees_its_bottoms() -> None:
    sink = (
        'layer { name: "sink" type: "Python" bottom: "square" '
        'python_param { module: "module_of_layers" layer: "Sink" } }'
    )
    net = engine_net(NET + sink)
    net.blobs["x"].data[...] = X
    net.forward()
    import module_of_layers  # type: ignore[import-not-found]

    np.testing.assert_array_equal(module_of_layers.seen[-1], net.blobs["square"].data)


@pytest.mark.parametrize(
    ("module", "layer", "words"),
    [
        ("no_such_module", "Square", "no class 'Square' in a module 'no_such_module'"),
        ("module_of_layers", "Cube", "no class 'Cube' in a module 'module_of_layers'"),
        ("module_of_layers", "Nothing", "'module_of_layers.Nothing' is no caffe.Layer"),
        ("", "", "no class '' in a module ''"),
    ],
)
def test_what_is_refused(module: str, layer: str, words: str) -> None:
    named = NET.replace("module_of_layers", module).replace('"Square"', f'"{layer}"')
    with pytest.raises(FatalError, match=words) as error:
        engine_net(named)
    assert "(layer 'square')" in str(error.value)


def test_its_type_is_listed() -> None:
    assert "Python" in caffe.layer_type_list()
