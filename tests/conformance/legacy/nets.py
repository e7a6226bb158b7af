"""Nets in Caffe's schemas of 2013 (V0) and 2014 (V1), and with deprecated fields."""

INPUT = 'name: "old" input: "x" input_dim: 2 input_dim: 3 input_dim: 12 input_dim: 12\n'


def v0(name: str, kind: str, bottoms: str, tops: str, rest: str = "") -> str:
    """A connection of 2013: a layer inside a layer."""
    ends = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in tops.split()]
    layer = f'layer {{ name: "{name}" type: "{kind}" {rest} }}'
    return f"layers {{ {layer} {' '.join(ends)} }}\n"


def v1(name: str, kind: str, bottoms: str, tops: str, rest: str = "") -> str:
    """A layer of 2014: its type is an enum."""
    ends = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in tops.split()]
    return f'layers {{ name: "{name}" type: {kind} {" ".join(ends)} {rest} }}\n'


FILLED = 'weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: 0.3 }'
RATES = "blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_decay: 0."
V0_NET = (
    INPUT
    + v0("pad1", "padding", "x", "pad1", "pad: 2")
    + v0("conv1", "conv", "pad1", "conv1",
         f"num_output: 4 kernelsize: 5 stride: 2 group: 1 biasterm: true {FILLED} {RATES}")
    + v0("relu1", "relu", "conv1", "conv1")
    + v0("pool1", "pool", "conv1", "pool1", "pool: AVE kernelsize: 3 stride: 2")
    + v0("norm1", "lrn", "pool1", "norm1", "local_size: 3 alpha: 0.0005 beta: 0.7 k: 2")
    + v0("pad2", "padding", "norm1", "pad2", "pad: 1")
    + v0("conv2", "conv", "pad2", "conv2", f"num_output: 6 kernelsize: 3 group: 2 {FILLED}")
    + v0("drop", "dropout", "conv2", "conv2", "dropout_ratio: 0.3")
    + v0("flat", "flatten", "conv2", "flat")
    + v0("ip", "innerproduct", "flat", "ip", f"num_output: 5 {FILLED} blobs_lr: 3")
    + v0("nobias", "innerproduct", "flat", "nobias", "num_output: 5 biasterm: false")
    + v0("cat", "concat", "ip nobias", "cat", "concat_dim: 1")
    + v0("tanh", "tanh", "cat", "tanh")
    + v0("bnll", "bnll", "tanh", "bnll")
    + v0("sig", "sigmoid", "bnll", "sig")
    + v0("prob", "softmax", "sig", "prob")
)  # fmt: skip
V0_DATA = (
    v0("data", "data", "", "data label",
       'source: "lmdb" batchsize: 2 scale: 0.5 meanfile: "m" cropsize: 5 mirror: true rand_skip: 1')
)  # fmt: skip
V1_NET = (
    INPUT
    + v1("conv", "CONVOLUTION", "x", "conv",
         f"convolution_param {{ num_output: 4 kernel_size: 3 {FILLED} }} {RATES}")
    + v1("relu", "RELU", "conv", "conv", "relu_param { negative_slope: 0.1 }")
    + v1("pool", "POOLING", "conv", "pool", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + v1("lrn", "LRN", "pool", "lrn", "lrn_param { local_size: 3 }")
    + v1("mvn", "MVN", "lrn", "mvn")
    + v1("abs", "ABSVAL", "mvn", "abs")
    + v1("pow", "POWER", "abs", "pow", "power_param { scale: 2 shift: 1 }")
    + v1("exp", "EXP", "pow", "exp", "exp_param { scale: 0.1 }")
    + v1("sum", "ELTWISE", "pow exp", "sum", "eltwise_param { coeff: 1 coeff: -1 }")
    + v1("parts", "SLICE", "sum", "left right", "slice_param { slice_dim: 1 slice_point: 1 }")
    + v1("hush", "SILENCE", "left", "")
    + v1("threshold", "THRESHOLD", "right", "threshold")
    + v1("flat", "FLATTEN", "right", "flat")
    + v1("a", "INNER_PRODUCT", "flat", "a",
         'inner_product_param { num_output: 7 } param: "w" param: "" blobs_lr: 2')
    + v1("b", "INNER_PRODUCT", "flat", "b",
         'inner_product_param { num_output: 7 } param: "w" blob_share_mode: PERMISSIVE')
    + v1("best", "ARGMAX", "b", "best")
    + v1("prob", "SOFTMAX", "a", "prob")
)  # fmt: skip
V1_LOSSES = (
    v1("d", "DUMMY_DATA", "", "s t n", "dummy_data_param { shape { dim: 4 dim: 3 } "
       "shape { dim: 4 dim: 3 } shape { dim: 4 } }")
    + v1("ip", "INNER_PRODUCT", "s", "z", "inner_product_param { num_output: 3 }")
    + v1("l1", "SOFTMAX_LOSS", "z n", "l1", "loss_weight: 2")
    + v1("l2", "EUCLIDEAN_LOSS", "z t", "l2")
    + v1("l3", "HINGE_LOSS", "z n", "l3", "hinge_loss_param { norm: L2 } loss_weight: 0.5")
    + v1("l4", "SIGMOID_CROSS_ENTROPY_LOSS", "z t", "l4")
    + v1("acc", "ACCURACY", "z n", "acc", "accuracy_param { top_k: 2 } include { phase: TRAIN }")
    + v1("gone", "TANH", "z", "gone", "exclude { phase: TRAIN }")
)  # fmt: skip
NETS = {
    "V0": V0_NET,
    "V0 with a field that its type does not have": INPUT
    + v0("r", "relu", "x", "y", "pad: 2 num_output: 3"),
    "V0 padding for two readers": INPUT
    + v0("p", "padding", "x", "p", "pad: 2")
    + v0("a", "conv", "p", "a", "num_output: 2 kernelsize: 3 pad: 1")
    + v0("b", "pool", "p", "b", "kernelsize: 3"),
    "V0 padding of nothing said": INPUT
    + v0("p", "padding", "x", "p")
    + v0("a", "conv", "p", "a", "num_output: 2 kernelsize: 3"),
    "V1": V1_NET,
    "V1 losses": V1_LOSSES,
    "three inputs": 'input: "a" input: "b" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5 '
    'input_dim: 1 input_dim: 1 input_dim: 2 input_dim: 2 layer { name: "t" type: "TanH" '
    'bottom: "a" top: "t" }',
    "input shapes": 'input: "a" input: "b" input_shape { dim: 2 dim: 7 } input_shape { dim: 3 } '
    'input_dim: 9 layer { name: "t" type: "TanH" bottom: "b" top: "t" }',
    "batch normalization with three rates": INPUT
    + 'layer { name: "n" type: "BatchNorm" bottom: "x" top: "n" param { lr_mult: 1 } '
    'param { decay_mult: 1 } param { name: "third" } }',
    "batch normalization with two rates": INPUT
    + 'layer { name: "n" type: "BatchNorm" bottom: "x" top: "n" param { lr_mult: 0 } '
    "param { lr_mult: 0 decay_mult: 1 } }",
}  # fmt: skip
DATA = {
    "V0 data": V0_DATA,
    "V1 data": v1("d", "DATA", "", "d l", 'data_param { source: "nope" batch_size: 2 scale: 0.5 '
                  'mean_file: "m" crop_size: 5 mirror: true backend: LMDB }'),
    "V1 images": v1("d", "IMAGE_DATA", "", "d l", 'image_data_param { source: "nope" '
                    "batch_size: 2 scale: 0.5 mirror: true new_height: 3 }"),
}  # fmt: skip
REFUSED = {
    "V0 unknown type": INPUT + v0("r", "rleu", "x", "y"),
    "V0 without a type": INPUT + "layers { layer { name: 'r' } bottom: 'x' top: 'y' }",
    "V0 padding for a ReLU": INPUT + v0("p", "padding", "x", "p") + v0("r", "relu", "p", "y"),
    "V0 padding for padding": INPUT
    + v0("p", "padding", "x", "p") + v0("q", "padding", "p", "q") + v0("c", "conv", "q", "y"),
    "V0 padding of two bottoms": INPUT
    + v0("p", "padding", "x x", "p") + v0("c", "conv", "p", "y"),
    "V0 padding of two tops": INPUT + v0("p", "padding", "x", "p q") + v0("c", "conv", "p", "y"),
    "V0 convolution of two paddings": INPUT
    + v0("p", "padding", "x", "p") + v0("c", "conv", "p p", "y z"),
    "V0 unknown bottom": INPUT + v0("r", "relu", "x", "y") + v0("c", "concat", "y q", "z"),
    "V0 and V1 together": INPUT + v0("r", "relu", "x", "y") + v1("s", "RELU", "y", "z"),
    "V1 of type NONE": INPUT + v1("r", "NONE", "x", "y"),
    "V1 unknown type": INPUT + v1("r", "RLEU", "x", "y"),
    "V1 and present": INPUT + v1("r", "RELU", "x", "y") + 'layer { name: "s" type: "ReLU" '
    'bottom: "y" top: "z" }',
}  # fmt: skip
