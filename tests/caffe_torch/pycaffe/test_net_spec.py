"""Nets written as Python: any fields of any layer, names, and what is refused."""

from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from caffe_torch.shim.caffe.net_spec import (
    NetSpec,
    assign_proto,
    layers,
    param_name_dict,
    params,
    to_proto,
)

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_FLOAT: FLOAT32,
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_STRING: st.text(max_size=5),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
}


def values(descriptor: Any, depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """Values for some of a message's fields, as a script writes them."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_ENUM:
            one: st.SearchStrategy[Any] = st.sampled_from(
                [v.number for v in field.enum_type.values]
            )
        elif field.type == FieldDescriptor.TYPE_MESSAGE and depth:
            one = values(field.message_type, depth - 1)
        elif field.type in SCALARS:
            one = SCALARS[field.type]
        else:
            continue
        fields[field.name] = st.lists(one, max_size=3) if field.is_repeated else one
    return st.fixed_dictionaries({}, optional=fields)


def written(message: Any, given_values: dict[str, Any]) -> None:
    """Set the fields with protobuf's own means."""
    for name, value in given_values.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                part = getattr(message, name)
                written(part.add() if field.is_repeated else part, item)
            if not field.is_repeated:
                getattr(message, name).SetInParent()
        elif field.is_repeated:
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)


@given(st.data(), st.sampled_from(sorted(param_name_dict().items())))
def test_any_fields_of_a_layers_own_message(data: st.DataObject, kind: tuple[str, str]) -> None:
    """Nested, repeated, enumerators: the layer says what protobuf's own means would."""
    type_name, own = kind
    expected = caffe_pb2.LayerParameter()
    message = getattr(expected, f"{own}_param")
    chosen = {
        name: value
        for name, value in data.draw(values(message.DESCRIPTOR)).items()
        if name not in ("ntop", "in_place") and not name.endswith("param")
    }
    written(message, chosen)
    (layer,) = getattr(layers, type_name)(**chosen).to_proto().layer
    assert getattr(layer, f"{own}_param") == message
    assert (layer.name, layer.type, list(layer.top)) == (f"{type_name}1", type_name, [layer.name])
    text = text_format.MessageToString(layer)
    assert text_format.Parse(text, caffe_pb2.LayerParameter()) == layer


@given(values(caffe_pb2.SolverParameter.DESCRIPTOR, depth=1))
def test_assign_proto_on_any_message(chosen: dict[str, Any]) -> None:
    expected, assigned = caffe_pb2.SolverParameter(), caffe_pb2.SolverParameter()
    written(expected, chosen)
    for name, value in chosen.items():
        assign_proto(assigned, name, value)
    assert assigned == expected


def test_one_value_of_a_repeated_field_need_not_be_a_list() -> None:
    layer = caffe_pb2.LayerParameter()
    assign_proto(layer, "param", {"lr_mult": 2})
    assign_proto(layer, "loss_weight", np.float32(0.5))
    assign_proto(layer, "convolution_param", {"kernel_size": 3})
    assert [spec.lr_mult for spec in layer.param] == [2]
    assert list(layer.loss_weight) == [0.5]
    assert list(layer.convolution_param.kernel_size) == [3]


def test_fields_that_are_not_the_types_own_are_the_layers() -> None:
    top = layers.SoftmaxWithLoss(
        layers.Input(),
        softmax_param={"axis": 2},
        loss_weight=3,
        include={"phase": caffe_pb2.TEST},
        name="mine",
    )
    layer = top.to_proto().layer[1]
    assert (layer.name, list(layer.loss_weight)) == ("mine", [3])
    assert (layer.include[0].phase, layer.softmax_param.axis) == (caffe_pb2.TEST, 2)
    assert list(layer.top) == ["SoftmaxWithLoss1"]


def test_a_net_spec_names_tops_and_layers() -> None:
    n = NetSpec()
    n.data, n["label"] = layers.Data(ntop=2)
    n.ip = layers.InnerProduct(n.data, num_output=3)
    n.relu = layers.ReLU(n.ip, in_place=True)
    unnamed = layers.Dropout(n.relu)
    n.loss = layers.SoftmaxWithLoss(unnamed, n["label"])
    n.unused = layers.Silence(n.ip, ntop=0)
    found = [(layer.name, *layer.bottom, *layer.top) for layer in n.to_proto().layer]
    assert found == [
        ("data", "data", "label"),
        ("ip", "data", "ip"),
        ("relu", "ip", "ip"),
        ("Dropout1", "ip", "Dropout1"),
        ("loss", "Dropout1", "label", "loss"),
        ("unused", "ip"),
    ]
    del n.loss, n["unused"]
    assert [layer.name for layer in n.to_proto().layer] == ["data", "ip", "relu"]


def test_a_layer_that_two_tops_need_is_there_once() -> None:
    data, label = layers.Data(ntop=2)
    ip = layers.InnerProduct(data, num_output=2)
    net = to_proto(layers.Accuracy(ip, label), layers.SoftmaxWithLoss(ip, label))
    names = ["Data1", "InnerProduct1", "Accuracy1", "SoftmaxWithLoss1"]
    assert [layer.name for layer in net.layer] == names


def test_enumerators() -> None:
    assert params.Pooling.AVE == caffe_pb2.PoolingParameter.AVE
    assert params.Data.LMDB == caffe_pb2.DataParameter.LMDB
    with pytest.raises(AttributeError):
        _ = params.Pooling.MEDIAN
    with pytest.raises(AttributeError):
        _ = params.Nothing.MAX


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: layers.ReLU(3), TypeError, "ReLU input 0 is not a Top"),
        (lambda: layers.ReLU(nothing=3).to_proto(), AttributeError, "no field named nothing"),
        (lambda: layers.Pooling(kernel_size="a").to_proto(), TypeError, "str"),
        (lambda: NetSpec().conv1, KeyError, "conv1"),
    ],
)
def test_what_is_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
