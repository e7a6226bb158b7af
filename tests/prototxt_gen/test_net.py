"""The net and solver prototxts that are written."""

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format

from prototxt_gen.net import Activation, DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.shapes import Padding, ShapeError
from prototxt_gen.solver import TrainingScheme, solver_text

DATA = DataSource("train.lmdb", "val.lmdb", mean_file="mean.binaryproto", mirror=True, crop_size=28)


def written(text: str, style: NetStyle | None = None) -> caffe_pb2.NetParameter:
    net = net_text(parse(text), (1, 28, 28), DATA, style or NetStyle(), "net")
    return text_format.Parse(net, caffe_pb2.NetParameter())


def test_data_comes_for_both_phases_and_only_training_is_mirrored() -> None:
    train, test = written("[C(64,3,1), SM(10)]").layer[:2]
    assert [train.include[0].phase, test.include[0].phase] == [caffe_pb2.TRAIN, caffe_pb2.TEST]
    assert (train.data_param.source, test.data_param.source) == ("train.lmdb", "val.lmdb")
    assert (train.data_param.batch_size, test.data_param.batch_size) == (128, 100)
    assert train.transform_param.mirror
    assert not test.transform_param.mirror  # Caffe flips at random in TEST too
    assert train.transform_param.mean_file == test.transform_param.mean_file == "mean.binaryproto"


@pytest.mark.parametrize(("padding", "pad"), [(Padding.SAME, [2]), (Padding.VALID, [])])
def test_padding(padding: Padding, pad: list[int]) -> None:
    layers = {x.name: x for x in written("[C(64,5,1), SM(10)]", NetStyle(padding)).layer}
    assert list(layers["conv1"].convolution_param.pad) == pad
    assert layers["conv1"].convolution_param.weight_filler.type == "xavier"


def test_dropout_has_a_top_of_its_own_and_what_follows_reads_it() -> None:
    net = written("[C(64,3,1), D(1,1), SM(10)]", NetStyle(activation=Activation.ELU))
    layers = {x.name: x for x in net.layer if x.type != "Data"}
    assert (list(layers["act1"].bottom), list(layers["act1"].top)) == (["conv1"], ["conv1"])
    assert (list(layers["drop1"].bottom), list(layers["drop1"].top)) == (["conv1"], ["drop1"])
    assert list(layers["scores"].bottom) == ["drop1"]
    assert layers["drop1"].dropout_param.dropout_ratio == 0.5


def test_the_chain_ends_in_loss_and_accuracy() -> None:
    loss, accuracy = written("[P(2,2), SM(10)]").layer[-2:]
    assert (loss.type, list(loss.bottom)) == ("SoftmaxWithLoss", ["scores", "label"])
    assert (accuracy.type, list(accuracy.bottom)) == ("Accuracy", ["scores", "label"])
    assert accuracy.include[0].phase == caffe_pb2.TEST


def test_a_net_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="does not fit"):
        net_text(parse("[C(4,9,1), SM(10)]"), (1, 5, 5), DATA, NetStyle(Padding.VALID), "net")


def test_a_solver_has_the_schemes_fields_and_no_mode() -> None:
    scheme = TrainingScheme(
        solver_type="Adam", base_lr=0.001, max_iter=200, test_iter=5, test_interval=10,
        lr_policy="step", gamma=0.2, stepsize=50, momentum2=0.999, delta=1e-8, random_seed=3,
    )  # fmt: skip
    text = solver_text(scheme, net="net.prototxt", snapshot_prefix="snap")
    solver = text_format.Parse(text, caffe_pb2.SolverParameter())
    assert (solver.type, solver.net, solver.snapshot_prefix) == ("Adam", "net.prototxt", "snap")
    assert (solver.lr_policy, solver.stepsize, solver.max_iter) == ("step", 50, 200)
    assert list(solver.test_iter) == [5]
    assert solver.random_seed == 3
    assert not solver.HasField("solver_mode")  # `caffe` then obeys --gpu alone


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lr_policy": "inv"}, "fixed, step or multistep"),
        ({"lr_policy": "step"}, "needs gamma and stepsize"),
        ({"lr_policy": "multistep", "gamma": 0.1}, "needs gamma and stepvalues"),
        ({"lr_policy": "multistep", "gamma": 0.1, "stepvalues": (2, 1)}, "ascend"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
    ],
)
def test_an_incomplete_scheme_is_refused(fields: dict[str, object], words: str) -> None:
    good = {"solver_type": "SGD", "base_lr": 0.1, "max_iter": 1, "test_iter": 1, "test_interval": 1}
    with pytest.raises(ValueError, match=words):
        TrainingScheme(**{**good, **fields})
