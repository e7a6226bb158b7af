"""What the entries of the zoo say, and the command that prints a net."""

from pathlib import Path

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format

from prototxt_gen.net import DataSource
from prototxt_gen.zoo import NETS
from prototxt_gen.zoo.__main__ import main

PAGE = Path(__file__).resolve().parents[3] / "docs" / "zoo.md"
# The rows of Tables 3 and 4 but the paper's own.
ROWS = {
    "Maxout", "NIN", "FitNet", "HighWay", "VGGnet", "All-CNN", "DropConnect", "DSN", "R-CNN",
    "ResNet(110)", "ResNet(1001)", "ELU", "Tree+Max-Avg",
}  # fmt: skip


def test_every_rival_of_the_tables_has_a_net() -> None:
    assert {entry.row for entry in NETS.values()} == ROWS
    assert all(name == entry.name for name, entry in NETS.items())


@pytest.mark.parametrize("name", NETS)
def test_the_page_says_what_the_entry_says(name: str) -> None:
    entry = NETS[name]
    row, source = (line for line in PAGE.read_text().splitlines() if f"`{name}`" in line)
    assert all(text in row for text in (entry.row, entry.paper, *entry.missing))
    assert all(text in source for text in (entry.source, *entry.notes))
    assert entry.stated is None or entry.stated.source in source


@pytest.mark.parametrize("name", NETS)
def test_a_net_reads_its_data_in_both_phases_and_ends_in_loss_and_accuracy(name: str) -> None:
    data = DataSource("train.lmdb", "test.lmdb", mean_file="mean.binaryproto", mirror=True)
    net = NETS[name].build(100, (3, 32, 32), data)
    train, test = net.layer[:2]
    assert [train.include[0].phase, test.include[0].phase] == [caffe_pb2.TRAIN, caffe_pb2.TEST]
    assert [x.data_param.source for x in (train, test)] == ["train.lmdb", "test.lmdb"]
    assert (train.transform_param.mirror, test.transform_param.mirror) == (True, False)
    assert [x.name for x in net.layer[-2:]] == ["loss", "accuracy"]
    assert net.layer[-1].include[0].phase == caffe_pb2.TEST
    assert len({x.name for x in net.layer[2:]}) == len(net.layer) - 2  # names are weights' keys


@pytest.mark.parametrize("name", NETS)
def test_every_layer_with_weights_is_filled(name: str) -> None:
    """Caffe's own default is zeros, from which nothing is learned."""
    for layer in NETS[name].build(10, (3, 32, 32)).layer:
        if layer.type in ("Convolution", "InnerProduct"):
            param = layer.convolution_param
            if layer.type == "InnerProduct":
                param = layer.inner_product_param
            assert param.weight_filler.type in ("gaussian", "xavier", "msra", "constant")
            assert param.weight_filler.type != "gaussian" or param.weight_filler.std > 0


def test_companions_of_dsn_train_but_do_not_test() -> None:
    layers = [x for x in NETS["dsn"].build(10, (3, 32, 32)).layer if "companion" in x.name]
    assert [x.type for x in layers] == ["InnerProduct", "HingeLoss"] * 3
    assert all([rule.phase for rule in x.include] == [caffe_pb2.TRAIN] for x in layers)
    assert all(0 < x.loss_weight[0] < 1 for x in layers[1::2])


def test_what_is_said_to_be_missing_is_not_in_caffes_schema() -> None:
    """No solver limits a norm of weights, and a loss's weight is one number for all of training."""
    solver = [field.name for field in caffe_pb2.SolverParameter.DESCRIPTOR.fields]
    assert not [name for name in solver if "norm" in name or "constraint" in name]
    assert not [name for name in solver if "loss_weight" in name]
    limited = [name for name, entry in NETS.items() if any("max-norm" in x for x in entry.missing)]
    assert limited == ["maxout", "fitnet", "elu"]


def test_the_command_prints_a_net(capsys: pytest.CaptureFixture[str]) -> None:
    main(["nin", "--classes", "100", "--train", "a.lmdb", "--test", "b.lmdb", "--mean", "m"])
    net = text_format.Parse(capsys.readouterr().out, caffe_pb2.NetParameter())
    data = DataSource("a.lmdb", "b.lmdb", mean_file="m")
    assert net == NETS["nin"].build(100, (3, 32, 32), data)
    main(["all_cnn", "--image", "1x28x28"])
    net = text_format.Parse(capsys.readouterr().out, caffe_pb2.NetParameter())
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 1, 28, 28]


def test_without_a_name_the_command_lists_the_nets(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NETS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lenet"], "invalid choice: 'lenet'"),
        (["nin", "--classes", "0"], "'0' is no number of classes"),
        (["nin", "--image", "32x32"], "'32x32' is not CHANNELSxHEIGHTxWIDTH, as 3x32x32"),
        (["nin", "--train", "a"], "give both or none"),
        (["nin", "--mean", "m"], "--mean needs --train and --test"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
