"""Net prototxts that a user names: what is kept of them, what is replaced, what is refused."""

from pathlib import Path

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prototxt_gen.net import DataSource
from prototxt_gen.shapes import GapForm, Padding
from reproduce.published_files import PublishedFileError, net_of_file, read_net_file, with_data

DATA = """layer { name: "d" type: "Data" top: "pixels" top: "digit" include { phase: TRAIN }
  data_param { source: "gone.lmdb" batch_size: 32 backend: LMDB } transform_param { mirror: true } }
layer { name: "d" type: "Data" top: "pixels" top: "digit" include { phase: TEST }
  data_param { source: "gone.lmdb" batch_size: 50 backend: LMDB } }
"""
CONV = """layer { name: "c1" type: "Convolution" bottom: "pixels" top: "c1"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "msra" } } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
"""
SCORES = """layer { name: "ip" type: "InnerProduct" bottom: "c1" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "gaussian" std: 0.01 } } }
"""
JUDGES = """layer { name: "top5" type: "Accuracy" bottom: "ip" bottom: "digit" top: "top5"
  accuracy_param { top_k: 5 } include { phase: TEST } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" include { phase: TEST } }
"""
LOSS = """layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "digit" top: "loss"
  include { phase: TRAIN } }
"""
NET = DATA + CONV + SCORES + JUDGES + LOSS
SOURCE = DataSource("../data/train.lmdb", "../data/test.lmdb", 32, 100, "../data/mean", 0.5)


def written(folder: Path, text: str, name: str = "net.prototxt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def parsed(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def runs(net: caffe_pb2.NetParameter, phase: int) -> list[caffe_pb2.LayerParameter]:
    """The layers of a phase; these nets' rules name phases alone."""
    return [x for x in net.layer if not x.include or phase in [rule.phase for rule in x.include]]


def test_the_layers_are_kept_and_the_data_is_ours(tmp_path: Path) -> None:
    """Fillers, rates and names stay; paths, batches, transforms and blobs of TEST are replaced."""
    found = read_net_file(written(tmp_path, NET))
    net, original = parsed(with_data(found.prototxt, SOURCE)), parsed(NET)
    assert [x for x in net.layer if x.type in ("Convolution", "ReLU", "InnerProduct")] == [
        x for x in original.layer if x.type in ("Convolution", "ReLU", "InnerProduct")
    ]
    train, test = (runs(net, phase) for phase in (caffe_pb2.TRAIN, caffe_pb2.TEST))
    assert [x.type for x in train] == [
        "Data",
        "Convolution",
        "ReLU",
        "InnerProduct",
        "SoftmaxWithLoss",
    ]
    assert [x.type for x in test] == [x.type for x in train] + ["Accuracy"]
    for layers, source, batch in ((train, SOURCE.train, 32), (test, SOURCE.test, 100)):
        data = layers[0]
        assert list(data.top) == ["pixels", "digit"]
        assert (data.data_param.source, data.data_param.batch_size) == (source, batch)
        assert (data.transform_param.scale, data.transform_param.mirror) == (0.5, False)
    assert test[-1].accuracy_param.top_k == 1
    assert (found.name, found.batch) == ("net.prototxt", 32)
    assert (found.padding, str(found.architecture)) == (Padding.VALID, "[C(4,5,1), SM(10)]")


def test_the_published_nets_differ_from_their_files_in_data_and_accuracy_alone(
    reference: Path,
) -> None:
    paths = sorted((reference / "published" / "prototxt").glob("*.prototxt"))
    assert len(paths) == 21
    for path in paths:
        found, original = read_net_file(path), parsed(path.read_text())
        ours = parsed(with_data(found.prototxt, SOURCE))
        for net in (ours, original):
            assert net.layer[0].type == net.layer[1].type == "Data"
        kept = [x for x in original.layer[2:] if x.type != "Accuracy"]
        assert [x for x in ours.layer[2:] if x.type != "Accuracy"] == kept, path.name
        assert (found.padding, found.gap, found.batch) == (Padding.SAME, GapForm.RELEASED, 128)


def test_a_net_that_is_none_of_the_authors_tells_of_itself(tmp_path: Path) -> None:
    found = read_net_file(written(tmp_path, NET))
    net = net_of_file("file/net", found.name, found.sha256, found.prototxt)
    assert (net.id, net.notation, net.error) == ("file/net", "[C(4,5,1), SM(10)]", None)
    assert net.place == f"net.prototxt (SHA-256 {found.sha256[:12]}…)"


def test_an_average_without_an_inner_product_is_the_papers_form(tmp_path: Path) -> None:
    average = """layer { name: "ip" type: "Pooling" bottom: "c1" top: "ip"
      pooling_param { pool: AVE global_pooling: true } }"""
    text = DATA + CONV.replace("kernel_size: 5", "kernel_size: 1") + average + LOSS
    found = read_net_file(written(tmp_path, text))
    assert (str(found.architecture), found.gap) == ("[GAP(4), SM(4)]", GapForm.PAPER)


REFUSED = {
    "no prototxt": ("layer {\n  nam: 'x' }", r"net\.prototxt:2:3: .*no field named \"nam\""),
    "no loss": (DATA + CONV + SCORES, "it has no loss; training needs a SoftmaxWithLoss"),
    "a regression": (
        NET.replace("SoftmaxWithLoss", "EuclideanLoss"),
        "layer loss: its loss is EuclideanLoss",
    ),
    "two losses": (NET + LOSS.replace('"loss"', '"aux"'), r"it has 2 losses \(loss, aux\)"),
    "a loss in TEST alone": (
        DATA + CONV + SCORES + LOSS.replace("TRAIN", "TEST"),
        "layer loss: the loss is not in TRAIN",
    ),
    "a loss of one blob": (
        DATA + CONV + SCORES + LOSS.replace('bottom: "digit"', ""),
        "layer loss: it must take scores and labels",
    ),
    "a top that nothing makes": (
        NET.replace('bottom: "c1" top: "ip"', 'bottom: "c7" top: "ip"'),
        "layer ip: it takes the blob 'c7', not 'c1'",
    ),
    "images that nothing makes": (
        NET.replace('bottom: "pixels"', 'bottom: "image"'),
        "layer c1: it takes the blob 'image', which no data layer makes",
    ),
    "labels that nothing makes": (
        NET.replace('bottom: "digit"', 'bottom: "label"'),
        "layer loss: it takes the blob 'label', which no data layer makes",
    ),
    "a fork": (
        DATA + CONV + SCORES + SCORES.replace('"ip"', '"fork"') + LOSS,
        "layer fork: it takes the blob 'c1', not 'ip'",
    ),
    "a layer after the loss": (
        NET + SCORES.replace('"ip"', '"late"'),
        "layer late: it comes after the loss",
    ),
    "a layer of one phase": (
        NET.replace('type: "ReLU"', 'type: "ReLU" include { phase: TRAIN }'),
        "layer r1: it must be in TRAIN and in TEST",
    ),
    "two bottoms": (
        NET.replace('type: "ReLU" bottom: "c1"', 'type: "ReLU" bottom: "c1" bottom: "c1"'),
        "layer r1: a layer of a chain takes one blob",
    ),
    "no layer": (
        DATA + LOSS.replace('bottom: "ip"', 'bottom: "pixels"'),
        "layer loss: there is no layer between the data and the loss",
    ),
    "no notation": (
        NET.replace('type: "ReLU"', 'type: "LRN"'),
        "layer r1: type LRN has no notation",
    ),
    "groups": (
        NET.replace("num_output: 4", "num_output: 4 group: 2"),
        "layer c1: groups and dilation have no notation",
    ),
    "no number of outputs": (NET.replace("num_output: 4", ""), "layer c1: C: filters must be"),
    "the old format": ("layers { name: 'x' }", r"old format \(`layers`\)"),
    "an accuracy's name": (
        NET.replace('"c1"', '"accuracy"'),
        "layer accuracy: its blob 'accuracy' is also another's",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_trained_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    text, words = REFUSED[what]
    assert text != NET
    with pytest.raises(PublishedFileError, match=words) as raised:
        read_net_file(written(tmp_path, text))
    said = str(raised.value)
    assert said.startswith(str(tmp_path / "net.prototxt"))
    assert "\n" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishedFileError, match=r"gone\.prototxt: No such file"):
        read_net_file(tmp_path / "gone.prototxt")
    binary = tmp_path / "model.prototxt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PublishedFileError, match=r"model\.prototxt: it is no text"):
        read_net_file(binary)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """The net above with pieces cut out, doubled or replaced."""
    text = NET
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 200)))
        piece = draw(st.sampled_from(["", text[start:end] * 2, '"', "}", "-1", "0", "\x00", "é"]))
        text = text[:start] + piece + text[end:]
    return text


@given(damaged() | st.text(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_net_or_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(text.encode())
    refusal = ""
    try:
        net = parsed(with_data(read_net_file(path).prototxt, SOURCE))
    except PublishedFileError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(str(path))
        assert "\n" not in refusal
    else:
        assert [x.type for x in net.layer].count("Data") == 2
