"""Nets written as Python: `layers` (L), `params` (P), `NetSpec` and `to_proto`.

`L.Type(bottom, …, field=value, …)` is a layer's top, or a tuple of `ntop` tops. Layers and tops
without a name get one from the type, numbered in the order in which they are first needed.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

Names = dict[Any, str]


def param_name_dict() -> dict[str, str]:
    """For each layer type with a message of its own, the message's field without `_param`."""
    fields = [
        field
        for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields
        if field.name.endswith("_param") and field.message_type is not None
    ]
    return {
        field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
        for field in fields
    }


_OWN = param_name_dict()


def to_proto(*tops: "Top") -> Any:
    """The NetParameter of all layers that the tops need."""
    layers: OrderedDict[Function, Any] = OrderedDict()
    autonames: Counter[str] = Counter()
    for top in tops:
        top.fn._to_proto(layers, {}, autonames)
    return _net(layers)


def _net(layers: OrderedDict["Function", Any]) -> Any:
    net = caffe_pb2.NetParameter()
    net.layer.extend(layers.values())
    return net


def assign_proto(message: Any, name: str, value: Any) -> None:
    """Set a field: a dict is a message, a list a repeated field, and so is one value of such.

    Raises:
        AttributeError: the message has no such field.
        TypeError: the value does not fit it.
    """
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise AttributeError(f"{message.DESCRIPTOR.name} has no field named {name}")
    if field.is_repeated:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                _fill(getattr(message, name).add(), item)
            else:
                getattr(message, name).append(item)
    elif isinstance(value, dict):
        getattr(message, name).SetInParent()
        _fill(getattr(message, name), value)
    else:
        setattr(message, name, value)


def _fill(message: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        assign_proto(message, name, value)


class Top:
    """The n-th top of a layer."""

    def __init__(self, fn: "Function", n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """The NetParameter of all layers that this top needs."""
        return to_proto(self)

    def _to_proto(
        self, layers: OrderedDict["Function", Any], names: Names, autonames: Counter[str]
    ) -> None:
        self.fn._to_proto(layers, names, autonames)


class Function:
    """A layer to be: its type, its bottoms and its fields.

    Raises:
        TypeError: a bottom is no Top.
    """

    def __init__(self, type_name: str, inputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        for index, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(top)})")
        self.type_name = type_name
        self.inputs = inputs
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def _name(self, thing: Any, names: Names, autonames: Counter[str]) -> str:
        """The name given to a top, or to a layer without tops; else its type and a number."""
        if thing not in names:
            autonames[self.type_name] += 1
            names[thing] = f"{self.type_name}{autonames[self.type_name]}"
        return names[thing]

    def _to_proto(
        self, layers: OrderedDict["Function", Any], names: Names, autonames: Counter[str]
    ) -> None:
        """Add this layer, after those that it needs."""
        if self in layers:
            return
        layer = caffe_pb2.LayerParameter(type=self.type_name)
        for top in self.inputs:
            top.fn._to_proto(layers, names, autonames)
            layer.bottom.append(layers[top.fn].top[top.n])
        if self.in_place:
            layer.top.extend(layer.bottom)
        else:
            layer.top.extend(self._name(top, names, autonames) for top in self.tops)
        layer.name = self._name(self.tops[0] if self.tops else self, names, autonames)
        own = _OWN.get(self.type_name, "")
        fields = layer.DESCRIPTOR.fields_by_name.get(f"{own}_param")
        for name, value in self.params.items():
            mine = fields is not None and name in fields.message_type.fields_by_name
            if mine and not name.endswith("param"):
                assign_proto(getattr(layer, fields.name), name, value)
            else:
                assign_proto(layer, name, value)
        layers[self] = layer


class NetSpec:
    """Tops by the names that they get: `n = NetSpec(); n.conv1 = L.Convolution(n.data, …)`."""

    tops: OrderedDict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, top: Any) -> None:
        self.tops[name] = top

    def __getattr__(self, name: str) -> Any:
        return self.tops[name]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def __setitem__(self, name: str, top: Any) -> None:
        self.tops[name] = top

    def __getitem__(self, name: str) -> Any:
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def to_proto(self) -> Any:
        """The NetParameter of all layers that the named tops need."""
        names: Names = {top: name for name, top in self.tops.items()}
        layers: OrderedDict[Function, Any] = OrderedDict()
        autonames: Counter[str] = Counter()
        for top in self.tops.values():
            top._to_proto(layers, names, autonames)
        return _net(layers)


class Layers:
    """`layers.Type` makes layers of a type, known or not."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def make(*inputs: Any, **fields: Any) -> Any:
            fn = Function(name, inputs, fields)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return make


class _Enumerators:
    """The enumerators of a parameter message: `params.Pooling.MAX`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, enumerator: str) -> int:
        message = getattr(caffe_pb2, f"{self._name}Parameter")
        return int(getattr(message, enumerator))


class Parameters:
    """`params.Type` has the enumerators of TypeParameter."""

    def __getattr__(self, name: str) -> _Enumerators:
        return _Enumerators(name)


layers = Layers()
params = Parameters()
