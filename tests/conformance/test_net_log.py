"""How nets are built: our log beside real Caffe's, line for line, on nets with odd corners."""

from pathlib import Path

import pytest

from tests.conformance.commands import Command, Run
from tests.conformance.logs.normalize import read

pytestmark = pytest.mark.conformance

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }\n'
LABEL = 'layer { name: "n" type: "Input" top: "n" input_param { shape { dim: 2 } } }\n'


def _inner(name: str, bottom: str, top: str, rest: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" '
        f"inner_product_param {{ num_output: 6 }} {rest} }}\n"
    )


def _layer(kind: str, name: str, bottom: str, top: str, rest: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {rest} }}\n'


LOSS = (
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "n" top: "loss" '
    "loss_weight: 2 }\n"
)

NETS = {
    "deploy": X + _inner("a", "x", "y"),
    "loss": X + LABEL + _inner("a", "x", "y") + LOSS,
    "shared parameters": X
    + LABEL
    + _inner("a", "x", "h", 'param { name: "w" lr_mult: 2 } param { name: "b" }')
    + _inner("b", "h", "y", 'param { name: "w" } param { name: "b" decay_mult: 0 }')
    + LOSS,
    "frozen": X
    + LABEL
    + _inner("a", "x", "h", "param { lr_mult: 0 } param { lr_mult: 0 }")
    + _layer("ReLU", "r", "h", "h")
    + _inner("b", "h", "y", "param { lr_mult: 0 }")
    + LOSS,
    "propagate_down": X
    + LABEL
    + _inner("a", "x", "h")
    + _inner("b", "h", "y", "propagate_down: false")
    + LOSS,
    "force_backward": "force_backward: true\n"
    + X
    + LABEL
    + _inner("a", "x", "y")
    + _layer("ELU", "e", "y", "e")
    + LOSS,
    "splits of in-place blobs": X
    + LABEL
    + _inner("a", "x", "h")
    + _layer("ReLU", "r", "h", "h")
    + _layer("Power", "p", "h", "p")
    + _layer("Power", "q", "h", "q")
    + 'layer { name: "y" type: "Eltwise" bottom: "p" bottom: "q" top: "y" }\n'
    + LOSS,
    "loss of a blob that is read": X + _inner("a", "x", "h", "loss_weight: 0.5")
    + _layer("ReLU", "r", "h", "r"),
    "two losses": X
    + LABEL
    + _inner("a", "x", "y")
    + LOSS
    + LOSS.replace('"loss"', '"extra"').replace("loss_weight: 2", "loss_weight: 0.3"),
    "automatic top": X
    + LABEL
    + _inner("a", "x", "y")
    + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "n" }\n',
    "layer outside the loss": X
    + LABEL
    + _inner("a", "x", "y")
    + _inner("b", "y", "z")
    + LOSS
    + _layer("Softmax", "s", "z", "prob"),
    "rules": X
    + _layer("ReLU", "a", "x", "a", "include { min_level: 1 }")
    + _layer("ReLU", "b", "x", "b", "include { max_level: -1 } include { phase: TRAIN }")
    + _layer("ReLU", "c", "x", "c", 'include { stage: "s" }')
    + _layer("ReLU", "d", "x", "d", 'include { not_stage: "t" }')
    + _layer("ReLU", "e", "x", "e", "exclude { phase: TRAIN }")
    + _layer("ReLU", "f", "x", "f", 'exclude { stage: "s" } exclude { min_level: 5 }'),
    "numbers and strings": 'name: "a \\"quoted\\" näme\\n"\n'
    + X
    + _layer("Power", "p", "x", "p", "power_param { scale: 0.1234567 shift: 1e-9 power: 1e20 }")
    + _layer("ReLU", "r", "p", "r", "relu_param { negative_slope: 16777217 }"),
    "old inputs": 'input: "x" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5\n'
    + _inner("a", "x", "y"),
    "old layers": 'input: "x" input_shape { dim: 2 dim: 6 }\n'
    'layers { name: "a" type: INNER_PRODUCT bottom: "x" top: "a" blobs_lr: 1 blobs_lr: 2 '
    'weight_decay: 1 weight_decay: 0 param: "w" inner_product_param { num_output: 3 } }\n'
    'layers { name: "r" type: RELU bottom: "a" top: "a" }\n'
    'layers { name: "s" type: SOFTMAX bottom: "a" top: "s" }\n',
}  # fmt: skip


def _built(run: Run) -> list[str]:
    """The lines up to the first pass."""
    return read(run.log.partition("Performing Forward")[0]).lines


@pytest.mark.parametrize("name", NETS)
def test_net_log(name: str, tmp_path: Path, embedded: Command, real: Command) -> None:
    (tmp_path / "net.prototxt").write_text(NETS[name], encoding="utf-8")
    arguments = ("time", "-model", "net.prototxt", "-iterations", "1", "-stage", "t,u")
    ours, theirs = embedded(*arguments, cwd=tmp_path), real(*arguments, cwd=tmp_path)
    assert _built(ours) == _built(theirs)
    assert ours.status == theirs.status == 0, ours.log[-1000:]
