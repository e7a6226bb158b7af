"""Malformed nets: each is a small net with one fault, and what the fatal line must name."""

from tests.conformance.bad_input.fault import Fault

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "lmdb" batch_size: 4 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def _net(old: str, new: str, *names: str, real: str = "says") -> Fault:
    """NET with one passage replaced."""
    assert NET.count(old) == 1, (old, NET.count(old))
    return Fault(NET.replace(old, new), names, real)


def _more(layer: str, *names: str, real: str = "says") -> Fault:
    """NET with one layer more at its end, called `extra`."""
    return Fault(f'{NET}layer {{ name: "extra" {layer} }}\n', names or ("extra",), real)


def _in_place(kind: str, rest: str = "") -> Fault:
    """NET with a layer in place on a blob that nothing else reads."""
    layer = f'layer {{ name: "again" type: "{kind}" bottom: "x" top: "x" {rest}'
    return _more(f'type: "TanH" bottom: "fc" top: "x" }} {layer}', "'again'", "in-place")


INPUT = 'layer { name: "extra" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'

NETS = {
    # The graph
    "unknown layer type": _net('"Convolution"', '"Convolutoin"', "Convolutoin", "'conv'"),
    "unknown bottom": _net('bottom: "pool"', 'bottom: "pool9"', "pool9", "'fc'"),
    "cyclic": _net('bottom: "data" top: "conv"', 'bottom: "fc" top: "conv"', "'fc'", "'conv'"),
    "bottom is its own top": _net('bottom: "pool" top', 'bottom: "fc" top', "'fc'", "layer 'fc'"),
    "duplicate top": _more('type: "ReLU" bottom: "fc" top: "pool"', "'pool'", "'extra'"),
    "top made twice by one layer": _more(
        'type: "Slice" bottom: "fc" top: "x" top: "x"', "'x'", "'extra'"
    ),
    "too few bottoms": _net('bottom: "label" top', "top", "'loss'"),
    "too many bottoms": _more(
        'type: "Sigmoid" bottom: "fc" bottom: "label" top: "x"', "'extra'", "bottom"
    ),
    "no top": _more('type: "Sigmoid" bottom: "fc"', "'extra'", "top"),
    "too many tops": _net('top: "loss"', 'top: "loss" top: "p" top: "q"', "'loss'", "top"),
    "include and exclude": _net(
        'type: "ReLU"', 'type: "ReLU" include { phase: TRAIN } exclude { phase: TEST }', "'relu'"
    ),
    "propagate_down of another number": _net(
        'type: "ReLU"', 'type: "ReLU" propagate_down: true propagate_down: true', "'relu'"
    ),
    "loss_weight of another number": _net(
        'top: "loss"', 'top: "loss" loss_weight: 1 loss_weight: 1', "'loss'", "loss_weight"
    ),
    "too many params": _net('type: "ReLU"', 'type: "ReLU" param { lr_mult: 1 }', "relu"),
    "shared parameter of another shape": _more(
        'type: "InnerProduct" bottom: "fc" top: "x" param { name: "w" } '
        'inner_product_param { num_output: 3 } } layer { name: "again" type: "InnerProduct" '
        'bottom: "x" top: "y" param { name: "w" } inner_product_param { num_output: 3 }',
        "'w'",
        "'again'",
    ),
    "shared parameter with two rates": _more(
        'type: "InnerProduct" bottom: "fc" top: "x" param { name: "w" lr_mult: 1 } '
        'inner_product_param { num_output: 10 } } layer { name: "again" type: "InnerProduct" '
        'bottom: "x" top: "y" param { name: "w" lr_mult: 2 } '
        "inner_product_param { num_output: 10 }",
        "'w'",
        "lr_mult",
        "'again'",
    ),
    "no layer": Fault('name: "bare"', ("bare",)),
    "no layer in this phase": Fault(
        'name: "bare" layer { name: "x" type: "Input" top: "x" include { phase: TEST } }',
        ("bare",),
        "dies",
    ),
    "convolution in place on an input": Fault(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 dim: 5 '
        'dim: 5 } } } layer { name: "extra" type: "Convolution" bottom: "x" top: "x" '
        "convolution_param { num_output: 3 kernel_size: 2 } }",
        ("'extra'", "channel"),
    ),
    "flatten in place": _in_place("Flatten"),
    "reshape in place": _in_place("Reshape", "reshape_param { shape { dim: -1 } }"),
    "split in place": _in_place("Split", 'top: "y"'),
    # Text
    "unknown field": _net("num_output: 6", "num_outptu: 6", "num_outptu", r"net\.prototxt"),
    "unclosed brace": _net('top: "loss" }', 'top: "loss"', r"net\.prototxt"),
    "negative number of outputs": _net("num_output: 6", "num_output: -6", r"net\.prototxt"),
    "unknown enum": _net("pool: MAX", "pool: MIN", "MIN", r"net\.prototxt"),
    "a word for a number": _net("kernel_size: 3", "kernel_size: three", "three", r"net\.prototxt"),
    "an optional field twice": _net("num_output: 6", "num_output: 6 num_output: 7", "num_output"),
    "old and new layers": Fault(
        NET + 'layers { name: "old" type: RELU bottom: "fc" top: "fc" }',
        (r"net\.prototxt", "'old'"),
    ),
    # Convolution and pooling
    "kernel of zero": _net("kernel_size: 3", "kernel_size: 0", "'conv'", "kernel"),
    "no kernel": _net("kernel_size: 3", "", "'conv'", "kernel"),
    "both kernels": _net("kernel_size: 3", "kernel_size: 3 kernel_h: 3", "'conv'", "kernel"),
    "three kernels": _net(
        "kernel_size: 3", "kernel_size: 3 kernel_size: 3 kernel_size: 3", "'conv'", "kernel_size"
    ),
    "kernel larger than the input": _net("kernel_size: 3", "kernel_size: 30", "'conv'", "kernel"),
    "stride of zero": _net("kernel_size: 3", "kernel_size: 3 stride: 0", "'conv'", "stride"),
    "dilation of zero": _net(
        "kernel_size: 3", "kernel_size: 3 dilation: 0", "'conv'", "dilation", real="accepts"
    ),
    "no outputs": _net("num_output: 6", "", "'conv'", "num_output"),
    "group does not divide the outputs": _net(
        "num_output: 6", "num_output: 6 group: 4", "'conv'", "group"
    ),
    "group does not divide the channels": _net(
        "num_output: 6", "num_output: 6 group: 2", "'conv'", "group"
    ),
    "group of zero": _net(
        "num_output: 6", "num_output: 6 group: 0", "'conv'", "group", real="crashes"
    ),
    "unknown filler": _net(
        '6 kernel_size: 3 weight_filler { type: "xavier"',
        '6 kernel_size: 3 weight_filler { type: "xaiver"',
        "xaiver",
        "'conv'",
    ),
    "pooling kernel larger than the input": _net(
        "kernel_size: 2 stride", "kernel_size: 20 stride", "'pool'", "kernel"
    ),
    "pooling without a kernel": _net("kernel_size: 2 stride: 2", "", "'pool'", "kernel"),
    "pooling of stride zero": _net("stride: 2", "stride: 0", "'pool'", "stride", real="dies"),
    "pad not below the kernel": _net("stride: 2", "stride: 2 pad: 2", "'pool'", "pad"),
    "global pooling with a kernel": _net(
        "stride: 2", "stride: 2 global_pooling: true", "'pool'", "kernel"
    ),
    "half a kernel": _net("kernel_size: 2 stride", "kernel_h: 2 stride", "'pool'", "kernel"),
    "LRN of even size": _more(
        'type: "LRN" bottom: "conv" top: "x" lrn_param { local_size: 4 }', "'extra'", "local_size"
    ),
    # Shapes
    "inner product's axis": _net("num_output: 10", "num_output: 10 axis: 7", "'fc'", "axis"),
    "inner product without outputs": _net("num_output: 10", "", "'fc'", "num_output", real="dies"),
    "eltwise of two shapes": _more(
        'type: "Eltwise" bottom: "fc" bottom: "pool" top: "x"', "'extra'"
    ),
    "eltwise's coefficients": _more(
        'type: "Eltwise" bottom: "fc" bottom: "fc" top: "x" eltwise_param { coeff: 1 }',
        "'extra'",
        "coeff",
    ),
    "product with coefficients": _more(
        'type: "Eltwise" bottom: "fc" bottom: "fc" top: "x" '
        "eltwise_param { operation: PROD coeff: 1 coeff: 1 }",
        "'extra'",
        "coeff",
    ),
    "concat of two ranks": _more('type: "Concat" bottom: "fc" bottom: "pool" top: "x"', "'extra'"),
    "concat's axis": _more(
        'type: "Concat" bottom: "fc" bottom: "fc" top: "x" concat_param { axis: 5 }',
        "'extra'",
        "axis",
    ),
    "slice into unequal parts": _more(
        'type: "Slice" bottom: "fc" top: "x" top: "y" top: "z"', "'extra'"
    ),
    "slice points not rising": _more(
        'type: "Slice" bottom: "fc" top: "x" top: "y" top: "z" '
        "slice_param { slice_point: 5 slice_point: 3 }",
        "'extra'",
        "slice_point",
    ),
    "slice points of another number": _more(
        'type: "Slice" bottom: "fc" top: "x" top: "y" slice_param { slice_point: 5 '
        "slice_point: 7 }",
        "'extra'",
        "slice_point",
    ),
    "slice point past the end": _more(
        'type: "Slice" bottom: "fc" top: "x" top: "y" slice_param { slice_point: 50 }',
        "'extra'",
        "slice_point",
    ),
    "reshape to another count": _more(
        'type: "Reshape" bottom: "fc" top: "x" reshape_param { shape { dim: 3 dim: 7 } }',
        "'extra'",
    ),
    "reshape with two unknowns": _more(
        'type: "Reshape" bottom: "fc" top: "x" reshape_param { shape { dim: -1 dim: -1 } }',
        "'extra'",
    ),
    "reshape that does not divide": _more(
        'type: "Reshape" bottom: "fc" top: "x" reshape_param { shape { dim: 7 dim: -1 } }',
        "'extra'",
    ),
    "flatten from an axis behind its end": _more(
        'type: "Flatten" bottom: "pool" top: "x" flatten_param { axis: 3 end_axis: 1 }', "'extra'"
    ),
    "softmax's axis": _more(
        'type: "Softmax" bottom: "fc" top: "x" softmax_param { axis: 2 }', "'extra'", "axis"
    ),
    "scale of another shape": _more(
        'type: "Scale" bottom: "pool" bottom: "fc" top: "x"', "'extra'"
    ),
    "crop of too much": _more(
        'type: "Crop" bottom: "pool" bottom: "conv" top: "x" crop_param { axis: 2 }', "'extra'"
    ),
    "crop's offsets": _more(
        'type: "Crop" bottom: "conv" bottom: "pool" top: "x" '
        "crop_param { axis: 2 offset: 1 offset: 1 offset: 1 }",
        "'extra'",
    ),
    "reduction's axis": _more(
        'type: "Reduction" bottom: "fc" top: "x" reduction_param { axis: 4 }', "'extra'", "axis"
    ),
    "dropout ratio above one": _more(
        'type: "Dropout" bottom: "fc" top: "x" dropout_param { dropout_ratio: 1.5 }',
        "'extra'",
        "dropout_ratio",
        real="dies",
    ),
    "dropout ratio of one": _more(
        'type: "Dropout" bottom: "fc" top: "x" dropout_param { dropout_ratio: 1 }',
        "'extra'",
        "dropout_ratio",
        real="accepts",
    ),
    "embed of nothing": _more(
        'type: "Embed" bottom: "label" top: "x" embed_param { num_output: 4 }', "'extra'"
    ),
    "input shapes of another number": Fault(
        NET
        + INPUT.replace('top: "x"', 'top: "x" top: "y" top: "z"').replace(
            "dim: 3 }", "dim: 3 } shape { dim: 1 }"
        ),
        ("'extra'", "shape"),
    ),
    "negative dimension": Fault(NET + INPUT.replace("dim: 3", "dim: -3"), ("'extra'", "dim|shape")),
    "more values than 2^31": Fault(
        NET + INPUT.replace("dim: 3", "dim: 65536 dim: 65536"), ("'extra'",)
    ),
    # Losses and scores
    "labels of another number": _net(
        'bottom: "label" top: "loss"', 'bottom: "conv" top: "loss"', "'loss'", "label"
    ),
    "top_k above the classes": _more(
        'type: "Accuracy" bottom: "fc" bottom: "label" top: "x" accuracy_param { top_k: 11 }',
        "'extra'",
        "top_k",
    ),
    "Euclidean loss of two shapes": _more(
        'type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "x"', "'extra'"
    ),
    "sigmoid loss of two shapes": _more(
        'type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "label" top: "x"', "'extra'"
    ),
    "infogain loss without its matrix": _more(
        'type: "InfogainLoss" bottom: "fc" bottom: "label" top: "x"', "'extra'", "source|bottom"
    ),
    "argmax of more than there are": _more(
        'type: "ArgMax" bottom: "fc" top: "x" argmax_param { top_k: 11 axis: 1 }',
        "'extra'",
        "top_k",
    ),
    # Data layers
    "batch of nothing": _net("batch_size: 4", "", "'data'", "batch_size"),
    "crop larger than the image": _net(
        "data_param", "transform_param { crop_size: 20 } data_param", "'data'", "crop_size"
    ),
    "mean values of another number": _net(
        "data_param",
        "transform_param { mean_value: 1 mean_value: 2 } data_param",
        "'data'",
        "mean_value",
    ),
    "missing mean file": _net(
        "data_param",
        'transform_param { mean_file: "nope" } data_param',
        "nope",
    ),
    "mean file and mean value": _net(
        "data_param",
        'transform_param { mean_file: "nope" mean_value: 1 } data_param',
        "'data'",
        "mean_file",
        "mean_value",
    ),
    "mean file of other images": _net(
        "data_param",
        'transform_param { mean_file: "mean" } data_param',
        "'data'",
        "mean_file",
    ),
    "LevelDB": _net("backend: LMDB", "backend: LEVELDB", "'data'", "backend", real="dies"),
    "missing HDF5 list": _more(
        'type: "HDF5Data" top: "x" hdf5_data_param { source: "nope" batch_size: 2 }',
        "nope",
        "'extra'",
    ),
    "missing HDF5 file": _more(
        'type: "HDF5Data" top: "x" hdf5_data_param { source: "list" batch_size: 2 }',
        "nope",
        "'extra'",
    ),
    "missing image list": _more(
        'type: "ImageData" top: "x" top: "y" image_data_param { source: "nope" batch_size: 2 }',
        "nope",
        "'extra'",
    ),
    "missing image": _more(
        'type: "ImageData" top: "x" top: "y" image_data_param { source: "list" batch_size: 2 }',
        "nope",
        "'extra'",
    ),
    "memory data without a size": _more(
        'type: "MemoryData" top: "x" top: "y" memory_data_param { batch_size: 2 }', "'extra'"
    ),
    "dummy data without a shape": _more('type: "DummyData" top: "x" top: "y"', "'extra'"),
}
