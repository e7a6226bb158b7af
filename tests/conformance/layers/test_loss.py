"""The losses and the accuracy beside real Caffe's."""

from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_torch import prototext
from caffe_torch.blob import to_proto
from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from tests.conformance.layers.judge import Array, Case, Judge, layer, normal
from tests.conformance.layers.record import Record

pytestmark = pytest.mark.conformance

SCORES = normal(8, 6, scale=3)
LABEL = np.array([0, 3, 5, 3, 1, 2, 4, 3], np.float32)
IMAGES = normal(2, 6, 5, 4)


def labels(*shape: int, classes: int, seed: int = 0) -> Array:
    """Random labels."""
    return np.random.default_rng(seed).integers(0, classes, shape).astype(np.float32)


def check(
    judge: Judge, kind: str, inputs: dict[str, Array], params: str = "", bottoms: str = ""
) -> Net:
    """A loss of the inputs, in order."""
    text = layer(kind, params, bottoms or " ".join(inputs), "loss")
    return judge.check(Case(kind, text, inputs, fixed=("label", "matrix")))


NORMALIZATIONS = {
    "default": "",
    "ignored": "loss_param { ignore_label: 3 }",
    "VALID": "loss_param { ignore_label: 3 normalization: VALID }",
    "FULL": "loss_param { ignore_label: 3 normalization: FULL }",
    "BATCH_SIZE": "loss_param { ignore_label: 3 normalization: BATCH_SIZE }",
    "NONE": "loss_param { normalization: NONE }",
    "normalize": "loss_param { ignore_label: 3 normalize: true }",
    "not normalize": "loss_param { ignore_label: 3 normalize: false }",
    "both": "loss_param { normalize: false normalization: FULL }",
    "weighted": "loss_weight: 0.3",
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_softmax_with_loss(name: str, judge: Judge) -> None:
    check(judge, "SoftmaxWithLoss", {"x": SCORES, "label": LABEL}, NORMALIZATIONS[name])


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_softmax_with_loss_over_images(name: str, judge: Judge) -> None:
    inputs = {"x": IMAGES, "label": labels(2, 1, 5, 4, classes=6)}
    check(judge, "SoftmaxWithLoss", inputs, NORMALIZATIONS[name])


def test_softmax_with_loss_where_all_is_ignored(judge: Judge) -> None:
    inputs = {"x": SCORES, "label": np.full(8, 2, np.float32)}
    net = check(judge, "SoftmaxWithLoss", inputs, "loss_param { ignore_label: 2 }")
    assert net.blobs["loss"].data == 0


def test_an_ignored_label_need_not_be_a_class(judge: Judge) -> None:
    inputs = {"x": SCORES, "label": np.where(LABEL == 3, 255, LABEL).astype(np.float32)}
    check(judge, "SoftmaxWithLoss", inputs, "loss_param { ignore_label: 255 }")


def test_softmax_with_loss_of_confident_mistakes(judge: Judge) -> None:
    """The loss stops at −log of the smallest float, 87.3365, and the gradient does not."""
    net = check(judge, "SoftmaxWithLoss", {"x": SCORES * 300, "label": LABEL})
    assert 0 < net.blobs["loss"].data < 87.3366


SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4)


@given(data=st.data(), shape=SHAPES)
@settings(deadline=None, max_examples=25)
def test_softmax_with_loss_of_any_shape(
    judge: Judge, data: st.DataObject, shape: list[int]
) -> None:
    """Any axis but the first, which real Caffe does not take for its classes."""
    axis = data.draw(st.sampled_from([*range(1, len(shape)), *range(1 - len(shape), 0)]))
    classes = shape[axis]
    rest = [size for i, size in enumerate(shape) if i != axis % len(shape)]
    mode = data.draw(st.sampled_from(["VALID", "FULL", "BATCH_SIZE", "NONE"]))
    ignored = data.draw(st.sampled_from(["", "ignore_label: 0"]))
    params = f"softmax_param {{ axis: {axis} }} loss_param {{ normalization: {mode} {ignored} }}"
    inputs = {"x": normal(*shape), "label": labels(*rest, classes=classes)}
    check(judge, "SoftmaxWithLoss", inputs, params)


# Infogain


def matrix(classes: int) -> Array:
    """A matrix of gains, all positive."""
    return np.random.default_rng(1).uniform(0.1, 1, (classes, classes)).astype(np.float32)


@pytest.mark.parametrize(
    "name", [name for name in NORMALIZATIONS if "normalize: " not in NORMALIZATIONS[name]]
)
def test_infogain_loss(name: str, judge: Judge) -> None:
    """With the matrix as third bottom."""
    check_infogain(judge, SCORES, LABEL, NORMALIZATIONS[name])


def check_infogain(judge: Judge, x: Array, label: Array, params: str, classes: int = 6) -> None:
    """An infogain loss of what an inner product over the last axis makes of x.

    Without force_backward, which would ask for the matrix's gradient: the weights' gradient tells
    of the scores'.
    """
    text = LEARNED.replace("num_output: 4", f"num_output: {x.shape[-1]}") + layer(
        "InfogainLoss", params, "s label matrix", "loss"
    )
    case = Case(
        "InfogainLoss",
        text,
        {"x": x, "label": label, "matrix": matrix(classes)},
        fixed=("x", "label", "matrix"),
    )
    judge.check(WithoutForce(**vars(case)))


LEARNED = layer(
    "InnerProduct", "inner_product_param { axis: -1 num_output: 4 bias_term: false "
    'weight_filler { type: "gaussian" std: 0.6 } }', "x", "s",
).replace('"l"', '"below"')  # fmt: skip


class WithoutForce(Case):
    """A case whose inputs have no gradient."""

    @property
    def prototxt(self) -> str:
        return super().prototxt.replace("force_backward: true", "")


def test_infogain_loss_over_images(judge: Judge) -> None:
    check_infogain(judge, IMAGES, labels(2, 5, 4, classes=6), "")


@pytest.mark.parametrize("legacy", [False, True])
def test_infogain_loss_of_a_file(legacy: bool, judge: Judge, tmp_path: Path) -> None:
    """The matrix as a BlobProto, of its shape or of four legacy dimensions."""
    proto = to_proto(matrix(6))
    if legacy:
        proto.ClearField("shape")
        proto.num, proto.channels, proto.height, proto.width = 1, 1, 6, 6
    path = tmp_path / "matrix.binaryproto"
    prototext.write_binary(str(path), proto)
    params = f'infogain_loss_param {{ source: "{path}" }} loss_param {{ ignore_label: 3 }}'
    check(judge, "InfogainLoss", {"x": SCORES, "label": LABEL}, params)


@given(data=st.data(), shape=SHAPES)
@settings(deadline=None, max_examples=20)
def test_infogain_loss_of_any_shape(judge: Judge, data: st.DataObject, shape: list[int]) -> None:
    axis = data.draw(st.sampled_from([*range(1, len(shape)), *range(1 - len(shape), 0)]))
    classes = shape[axis]
    rest = [size for i, size in enumerate(shape) if i != axis % len(shape)]
    mode = data.draw(st.sampled_from(["VALID", "FULL", "BATCH_SIZE", "NONE"]))
    ignored = data.draw(st.sampled_from(["", "ignore_label: 0"]))
    params = f"infogain_loss_param {{ axis: {axis} }} "
    params += f"loss_param {{ normalization: {mode} {ignored} }}"
    check_infogain(judge, normal(*shape), labels(*rest, classes=classes), params, classes)


def test_infogain_loss_refuses_normalize(judge: Judge) -> None:
    """As real Caffe, which ends there."""
    inputs = {"x": SCORES, "label": LABEL, "matrix": matrix(6)}
    with pytest.raises(FatalError, match=r"normalize is deprecated.*'l'"):
        check(judge, "InfogainLoss", inputs, "loss_param { normalize: true }")
    with pytest.raises(AssertionError, match="normalize is deprecated"):
        judge.run("net", judge.folder / "net.prototxt", {}, "TRAIN")


def test_infogain_loss_gives_the_softmax_as_second_top(judge: Judge) -> None:
    inputs = {"x": IMAGES, "label": labels(2, 5, 4, classes=6), "matrix": matrix(6)}
    weights = "loss_weight: 2 loss_weight: 0"
    text = LEARNED + layer("InfogainLoss", weights, "s label matrix", "loss prob")
    judge.check(WithoutForce("InfogainLoss", text, inputs, fixed=tuple(inputs)))


def test_softmax_with_loss_gives_the_softmax_as_second_top(judge: Judge) -> None:
    """Real Caffe 1.0 ends there whatever loss_weight says; here the first top is the loss."""
    inputs = {"x": IMAGES, "label": labels(2, 5, 4, classes=6)}
    exponentials = np.exp(IMAGES.astype(np.float64))
    expected = exponentials / exponentials.sum(1, keepdims=True)
    for weights in ("", "loss_weight: 1 loss_weight: 0"):
        text = layer("SoftmaxWithLoss", weights, "x label", "loss prob")
        prototxt = judge.folder / "two.prototxt"
        prototxt.write_text(Case("SoftmaxWithLoss", text, inputs).prototxt)
        net = Net.from_file(str(prototxt), caffe_pb2.TRAIN, runtime=Runtime.create(1))
        net.forward(**inputs)
        np.testing.assert_allclose(net.blobs["prob"].data, expected, rtol=1e-5)
        assert net.loss_weight("loss") == 1
        assert net.loss_weight("prob") == 0
        with pytest.raises(AssertionError, match="loss_weight must be unspecified or specified"):
            judge.run("forward", prototxt, {}, "TRAIN")


# Losses without a softmax


@pytest.mark.parametrize("shape", [(8, 6), (3, 4, 2, 5), (1, 7), (4,)])
def test_euclidean_loss(shape: tuple[int, ...], judge: Judge) -> None:
    """Both bottoms have a gradient."""
    check(judge, "EuclideanLoss", {"x": normal(*shape), "z": normal(*shape, seed=1)})


def test_euclidean_loss_of_two_shapes(judge: Judge) -> None:
    check(judge, "EuclideanLoss", {"x": normal(3, 8), "z": normal(3, 2, 4, seed=1)})


@given(shape=SHAPES, weight=st.floats(0.125, 4, width=32))
@settings(deadline=None, max_examples=15)
def test_euclidean_loss_of_any_shape(judge: Judge, shape: list[int], weight: float) -> None:
    inputs = {"x": normal(*shape), "z": normal(*shape, seed=1)}
    check(judge, "EuclideanLoss", inputs, f"loss_weight: {weight}")


def away_from_hinges(x: Array) -> Array:
    """Scores at least 0.05 from −1 and 1."""
    far = np.abs(np.abs(x) - 1) >= 0.05
    return np.where(far, x, x * 1.2).astype(np.float32)


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_hinge_loss(norm: str, judge: Judge) -> None:
    inputs = {"x": away_from_hinges(SCORES), "label": LABEL}
    check(judge, "HingeLoss", inputs, f"hinge_loss_param {{ norm: {norm} }}")


def test_hinge_loss_reads_the_first_labels(judge: Judge) -> None:
    """Of more labels than items, as real Caffe."""
    inputs = {"x": away_from_hinges(SCORES), "label": labels(8, 2, classes=6)}
    check(judge, "HingeLoss", inputs)


@given(shape=SHAPES, norm=st.sampled_from(["L1", "L2"]))
@settings(deadline=None, max_examples=20)
def test_hinge_loss_of_any_shape(judge: Judge, shape: list[int], norm: str) -> None:
    inputs = {
        "x": away_from_hinges(normal(*shape)),
        "label": labels(shape[0], classes=int(np.prod(shape[1:]))),
    }
    check(judge, "HingeLoss", inputs, f"hinge_loss_param {{ norm: {norm} }}")


@given(
    shape=SHAPES,
    mode=st.sampled_from(["", *(f"normalization: {m}" for m in ("VALID", "FULL", "BATCH_SIZE",
                                                                  "NONE")),
                          "normalize: true", "normalize: false"]),
    ignored=st.sampled_from(["", "ignore_label: 1", "ignore_label: -1"]),
)  # fmt: skip
@settings(deadline=None, max_examples=25)
def test_sigmoid_cross_entropy_loss(
    judge: Judge, shape: list[int], mode: str, ignored: str
) -> None:
    """Targets of −1, 0, 1: what is ignored counts for nothing, what is not may be any number."""
    inputs = {"x": normal(*shape, scale=3), "label": labels(*shape, classes=3) - 1}
    check(judge, "SigmoidCrossEntropyLoss", inputs, f"loss_param {{ {mode} {ignored} }}")


def test_sigmoid_cross_entropy_loss_of_probabilities(judge: Judge) -> None:
    target = np.random.default_rng(3).uniform(size=SCORES.shape).astype(np.float32)
    check(judge, "SigmoidCrossEntropyLoss", {"x": SCORES, "label": target})


def test_sigmoid_cross_entropy_loss_of_confident_mistakes(judge: Judge) -> None:
    target = labels(*SCORES.shape, classes=2)
    check(judge, "SigmoidCrossEntropyLoss", {"x": SCORES * 100, "label": target})


@given(shape=SHAPES)
@settings(deadline=None, max_examples=15)
def test_multinomial_logistic_loss(judge: Judge, shape: list[int]) -> None:
    x = np.random.default_rng(0).uniform(0.05, 1, shape).astype(np.float32)
    inputs = {"x": x, "label": labels(shape[0], classes=int(np.prod(shape[1:])))}
    check(judge, "MultinomialLogisticLoss", inputs)


def test_multinomial_logistic_loss_of_no_probability(judge: Judge) -> None:
    """The logarithm stops at 1e-20; the gradient there is that of 1e-20."""
    inputs = {"x": np.array([[0, 0.5], [0.25, 0.75]], np.float32), "label": np.zeros(2, np.float32)}
    net = check(judge, "MultinomialLogisticLoss", inputs)
    assert net.blobs["loss"].data == pytest.approx((20 * np.log(10) + np.log(4)) / 2)


@pytest.mark.parametrize("legacy", ["true", "false"])
@given(
    n=st.integers(1, 8),
    channels=st.integers(1, 6),
    margin=st.sampled_from([0.5, 1.5, 3.0, 20.0]),
)
@settings(deadline=None, max_examples=15)
def test_contrastive_loss(judge: Judge, legacy: str, n: int, channels: int, margin: float) -> None:
    """Pairs that are similar or not, within the margin or beyond."""
    inputs = {
        "x": normal(n, channels),
        "z": normal(n, channels, seed=1),
        "label": labels(n, classes=2, seed=2),
    }
    params = f"contrastive_loss_param {{ margin: {margin} legacy_version: {legacy} }}"
    check(judge, "ContrastiveLoss", inputs, params)


def test_contrastive_loss_of_equal_pairs(judge: Judge) -> None:
    """A distance of 0 has a gradient of 0, similar or not."""
    x = normal(4, 3)
    net = check(judge, "ContrastiveLoss", {"x": x, "z": x, "label": labels(4, classes=2)})
    assert not net.blobs["x"].diff.any()


# Labels take no gradient

REFUSED = {
    "SoftmaxWithLoss": ("s label", (4,), "true true", "label"),
    "HingeLoss": ("s label", (4,), "true true", "label"),
    "MultinomialLogisticLoss": ("s label", (4,), "true true", "label"),
    "SigmoidCrossEntropyLoss": ("s label", (4, 4), "true true", "label"),
    "InfogainLoss": ("s label matrix", (4,), "true true true", "label"),
    "InfogainLoss of a matrix": ("s label matrix", (4,), "true false true", "infogain"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_gradient_to_labels_is_refused(case: str, judge: Judge) -> None:
    """In the backward pass, where propagate_down asks for one; real Caffe ends there."""
    bottoms, shape, asked, name = REFUSED[case]
    kind = case.split()[0]
    inputs = {"x": normal(4, 3), "label": np.zeros(shape, np.float32)}
    if "matrix" in bottoms:
        inputs["matrix"] = matrix(4)
    params = " ".join(f"propagate_down: {each}" for each in asked.split())
    message = f"{kind} Layer cannot backpropagate to {name} inputs"
    with pytest.raises(FatalError, match=f"{message}.*'l'"):
        judge.check(WithoutForce(kind, LEARNED + layer(kind, params, bottoms, "loss"), inputs))
    with pytest.raises(AssertionError, match=message):
        judge.run("net", judge.folder / "net.prototxt", {}, "TRAIN")


# Accuracy


@pytest.mark.parametrize("params", ["", "top_k: 2", "ignore_label: 3", "top_k: 3 ignore_label: 1"])
@pytest.mark.parametrize("tie", [False, True])
def test_accuracy(params: str, tie: bool, judge: Judge) -> None:
    x = SCORES.round() if tie else SCORES
    text = layer("Accuracy", f"accuracy_param {{ {params} }}", "x label", "accuracy classes")
    judge.check(Case("Accuracy", text, {"x": x, "label": LABEL}, phase="TEST", backward=False))


@given(data=st.data(), shape=SHAPES)
@settings(deadline=None, max_examples=25)
def test_accuracy_of_any_shape(judge: Judge, data: st.DataObject, shape: list[int]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    classes = shape[axis]
    rest = [size for i, size in enumerate(shape) if i != axis % len(shape)]
    top_k = data.draw(st.integers(1, classes))
    ignored = data.draw(st.sampled_from(["", "ignore_label: 0", "ignore_label: 255"]))
    tops = data.draw(st.sampled_from(["accuracy", "accuracy classes"]))
    params = f"accuracy_param {{ axis: {axis} top_k: {top_k} {ignored} }}"
    inputs = {"x": normal(*shape).round(1), "label": labels(*rest, classes=classes)}
    text = layer("Accuracy", params, "x label", tops)
    judge.check(Case("Accuracy", text, inputs, phase="TEST", backward=False))


def test_accuracy_refuses_a_gradient(judge: Judge, record: Record) -> None:
    """In the backward pass, where a loss_weight asks for one; real Caffe ends there."""
    inputs = {"x": normal(4, 3), "label": np.zeros(4, np.float32)}
    text = LEARNED + layer("Accuracy", "loss_weight: 1", "s label", "accuracy")
    with pytest.raises(FatalError, match=r"Not Implemented Yet.*'l'"):
        judge.check(WithoutForce("Accuracy", text, inputs))
    with pytest.raises(AssertionError, match="Not Implemented Yet"):
        judge.run("net", judge.folder / "net.prototxt", {}, "TRAIN")
    record.add("Accuracy", "backward", "refused as by real Caffe")
