"""Whatever is in a prototxt or a model, reading it ends in a message or in a FatalError."""

import re
import tempfile
from collections.abc import Callable

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_torch import upgrade, wiring
from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime

PRESENT = """
name: "net" force_backward: false state { phase: TEST stage: "s" }
layer { name: "x" type: "Input" top: "x" top: "n"
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" param { lr_mult: 1 name: "w" }
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 group: 1 dilation: 1
    weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0.5 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" include { stage: "s" min_level: -1 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "lrn" type: "LRN" bottom: "pool" top: "lrn" lrn_param { local_size: 3 } }
layer { name: "norm" type: "BatchNorm" bottom: "lrn" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "norm" scale_param { bias_term: true } }
layer { name: "ip" type: "InnerProduct" bottom: "norm" top: "ip" propagate_down: true
  inner_product_param { num_output: 5 axis: 1 } }
layer { name: "parts" type: "Slice" bottom: "ip" top: "a" top: "b"
  slice_param { axis: 1 slice_point: 2 } }
layer { name: "cat" type: "Concat" bottom: "a" bottom: "b" top: "cat" concat_param { axis: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "cat" bottom: "ip" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: 2 } }
layer { name: "turn" type: "Reshape" bottom: "sum" top: "turn"
  reshape_param { shape { dim: 0 dim: -1 } axis: 0 } }
layer { name: "flat" type: "Flatten" bottom: "turn" top: "flat" flatten_param { axis: 1 } }
layer { name: "drop" type: "Dropout" bottom: "flat" top: "flat"
  dropout_param { dropout_ratio: 0.5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "flat" bottom: "n" top: "loss" loss_weight: 1
  loss_param { ignore_label: 3 normalization: VALID } softmax_param { axis: 1 } }
layer { name: "acc" type: "Accuracy" bottom: "flat" bottom: "n" top: "acc"
  accuracy_param { top_k: 2 axis: 1 } }
"""
V1 = """
input: "x" input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
layers { name: "conv" type: CONVOLUTION bottom: "x" top: "c" blobs_lr: 1 weight_decay: 0
  param: "w" convolution_param { num_output: 2 kernel_size: 3 } include { phase: TRAIN } }
layers { name: "data" type: DATA top: "d" top: "l" data_param { source: "s" scale: 2 } }
"""
V0 = """
input: "x" input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "x" top: "p" }
layers { layer { name: "conv" type: "conv" num_output: 2 kernelsize: 3 blobs_lr: 1
  weight_filler { type: "xavier" } } bottom: "p" top: "c" }
layers { layer { name: "relu" type: "relu" alpha: 2 } bottom: "c" top: "c" }
"""
SOLVER = """
net: "net.prototxt" type: "SGD" base_lr: 0.01 momentum: 0.9 lr_policy: "step" gamma: 0.1
stepsize: 5 display: 1 max_iter: 2 test_iter: 1 test_interval: 2 snapshot_prefix: "snap"
solver_mode: CPU test_state { stage: "x" }
"""
TOKEN = re.compile(r'"[^"]*"|[\w.+-]+|[^\s]|\s+')
WORDS = ["{", "}", ":", '"', "-1", "0", "1", "2", "7", "0.5", "nan", "true", "MAX", '"x"', '"ip"',
         "layer", "layers", "name", "#", "\n", "'", "<", ",", "\\", "\x00", "é"]  # fmt: skip


@st.composite
def _mutated(draw: st.DrawFn, texts: list[str]) -> str:
    """One of the texts with some tokens dropped, doubled, exchanged or replaced."""
    tokens = TOKEN.findall(draw(st.sampled_from(texts)))
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(tokens) - 1))
        how = draw(st.sampled_from(["drop", "double", "swap", "word", "cut"]))
        if how == "drop":
            tokens[i] = ""
        elif how == "double":
            tokens[i] *= 2
        elif how == "swap":
            j = draw(st.integers(0, len(tokens) - 1))
            tokens[i], tokens[j] = tokens[j], tokens[i]
        elif how == "word":
            tokens[i] = draw(st.sampled_from(WORDS))
        else:
            del tokens[i + draw(st.integers(0, 30)) :]
            if not tokens:
                return ""
    return "".join(tokens)


def _refusal(work: Callable[[], object]) -> str:
    """The fatal line that the work ends with, or nothing; any other exception goes through."""
    try:
        work()
    except FatalError as failure:
        return f"{failure.where}] {failure.message}"
    return ""


def _check_line(line: str) -> None:
    assert not line or re.fullmatch(r"[\w.]+:\d+\] [^\n]+", line), line


def _read(data: bytes, read: Callable[[str], Message]) -> Message | None:
    """The message in a file of these bytes; None where it is refused with a line of its own."""
    messages: list[Message] = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        _check_line(_refusal(lambda: messages.append(read(file.name))))
    return messages[0] if messages else None


@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
@settings(max_examples=300)
def test_any_bytes(data: bytes) -> None:
    for read in (upgrade.read_net, upgrade.read_solver, upgrade.read_model):
        _read(data, read)


@given(_mutated([PRESENT, V1, V0, SOLVER]))
@settings(max_examples=400)
def test_a_mutated_prototxt(text: str) -> None:
    """Read, upgraded, filtered by its rules, and wired."""
    _read(text.encode(), upgrade.read_solver)
    net = _read(text.encode(), upgrade.read_net)
    if net is not None:
        _check_line(_refusal(lambda: wiring.insert_splits(wiring.filter_net(net))))


@given(st.integers(0, 5000), st.sampled_from(["layer {", "net_param { layer {", "a <", "[x"]))
def test_text_that_never_ends(depth: int, opening: str) -> None:
    _read((opening * depth).encode(), upgrade.read_net)
    _read((opening * depth).encode(), upgrade.read_solver)


@given(_mutated([PRESENT]))
@settings(max_examples=300, deadline=None)
def test_a_mutated_net_is_built_and_run_or_refused(text: str) -> None:
    """Every layer checks what it is given before it computes."""
    param = _read(text.encode(), upgrade.read_net)
    if param is None:
        return

    def run() -> None:
        net = Net(param, Runtime.create(0))
        net.forward()
        net.backward()

    _check_line(_refusal(run))


@pytest.mark.parametrize("text", [PRESENT, V1, V0, SOLVER])
def test_the_texts_that_are_mutated_are_good(text: str) -> None:
    assert _read(text.encode(), upgrade.read_solver if "max_iter" in text else upgrade.read_net)
