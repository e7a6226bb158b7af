"""Malformed solvers and command lines."""

from tests.conformance.bad_input.fault import Fault

SOLVER = """
net: "net.prototxt" type: "SGD" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed"
display: 1 max_iter: 2 test_iter: 1 test_interval: 2 snapshot_prefix: "snap" random_seed: 1
solver_mode: CPU
"""


def _with(old: str, new: str, *names: str, real: str = "says") -> Fault:
    """SOLVER with one passage replaced."""
    assert SOLVER.count(old) == 1, (old, SOLVER.count(old))
    return Fault(SOLVER.replace(old, new), names, real)


SOLVERS = {
    "no net": _with('net: "net.prototxt"', "", "net_param"),
    "two nets": _with(
        'net: "net.prototxt"', 'net: "net.prototxt" train_net: "net.prototxt"', "train_net"
    ),
    "missing net": _with("net.prototxt", "nope.prototxt", r"nope\.prototxt"),
    "unknown solver type": _with('"SGD"', '"SGDD"', "SGDD"),
    "type and solver_type": _with('type: "SGD"', 'type: "SGD" solver_type: ADAM', "solver_type"),
    "unknown solver_type": _with('type: "SGD"', "solver_type: LBFGS", "LBFGS"),
    "unknown lr_policy": _with('"fixed"', '"fxied"', "fxied"),
    "no lr_policy": _with('lr_policy: "fixed"', "", "lr_policy|learning rate policy"),
    "step without stepsize": _with('"fixed"', '"step" gamma: 0.1', "stepsize"),
    "step of size zero": _with('"fixed"', '"step" gamma: 0.1 stepsize: 0', "stepsize"),
    "negative gamma": _with('"fixed"', '"step" gamma: -0.1 stepsize: 1', "gamma"),
    "momentum with AdaGrad": _with('"SGD"', '"AdaGrad"', "momentum"),
    "momentum with RMSProp": _with('"SGD"', '"RMSProp" rms_decay: 0.9', "momentum"),
    "unknown regularization": _with(
        "momentum: 0.9", 'momentum: 0.9 weight_decay: 1 regularization_type: "L3"', "L3"
    ),
    "unknown field": _with("base_lr", "bsae_lr", "bsae_lr"),
    "unknown enum": _with("solver_mode: CPU", "solver_mode: TPU", "TPU"),
    "a word for a number": _with("max_iter: 2", "max_iter: two", "two"),
    "no test_iter": _with("test_iter: 1", "test_net: 'net.prototxt'", "test_iter"),
    "no test_interval": _with("test_interval: 2", "", "test_interval"),
    "negative test_interval": _with("test_interval: 2", "test_interval: -2", "test_interval"),
    "missing test net": _with("test_iter: 1", 'test_iter: 1 test_net: "nope"', "nope"),
    "test_state of another number": _with(
        "test_iter: 1", "test_iter: 1 test_state {} test_state {}", "test_state"
    ),
    "average of nothing": _with("display: 1", "average_loss: 0", "average_loss"),
    "iter_size of zero": _with("display: 1", "iter_size: 0", "iter_size", real="accepts"),
    "unwritable prefix": _with('"snap"', '"nope/snap"', "nope/snap"),
    "prefix in a file": _with('"snap"', '"list/snap"', "list/snap"),
    "unknown snapshot format": _with("display: 1", "snapshot_format: ZIP", "ZIP"),
    "missing weights in the solver": _with("display: 1", 'weights: "nope.caffemodel"', "nope"),
    "GPU without one": _with("solver_mode: CPU", "solver_mode: GPU", "GPU"),
}
TRAIN = ("train", "-solver", "solver.prototxt")
TEST = ("test", "-model", "net.prototxt", "-weights", "good.caffemodel", "-iterations", "1")
COMMANDS: dict[str, tuple[tuple[str, ...], Fault]] = {
    "unknown command": (("trian",), Fault("", ("trian",))),
    "no solver": (("train",), Fault("", ("solver",))),
    "missing solver": (("train", "-solver", "nope"), Fault("", ("nope",))),
    "solver is a folder": (("train", "-solver", "lmdb"), Fault("", ("lmdb",), "dies")),
    "solver is a net": (
        ("train", "-solver", "net.prototxt"),
        Fault("", ("net.prototxt", "layer|name")),
    ),
    "solver is binary": (("train", "-solver", "good.caffemodel"), Fault("", ("good.caffemodel",))),
    "snapshot and weights": (
        (*TRAIN, "-snapshot", "a", "-weights", "b"),
        Fault("", ("snapshot", "weights")),
    ),
    "missing snapshot": ((*TRAIN, "-snapshot", "nope.solverstate"), Fault("", ("nope",))),
    "truncated snapshot": ((*TRAIN, "-snapshot", "cut.solverstate"), Fault("", ("cut",), "dies")),
    "snapshot of another net": ((*TRAIN, "-snapshot", "other.solverstate"), Fault("", ("other",))),
    "snapshot without its model": (
        (*TRAIN, "-snapshot", "lost.solverstate"),
        Fault("", ("lost.caffemodel",), "dies"),
    ),
    "missing weights": ((*TRAIN, "-weights", "nope.caffemodel"), Fault("", ("nope",))),
    "second weights missing": (
        (*TRAIN, "-weights", "good.caffemodel,nope.caffemodel"),
        Fault("", ("nope",)),
    ),
    "truncated weights": ((*TRAIN, "-weights", "cut.caffemodel"), Fault("", ("cut",))),
    "weights are text": ((*TRAIN, "-weights", "net.prototxt"), Fault("", ("net.prototxt",))),
    "weights are a folder": ((*TRAIN, "-weights", "lmdb"), Fault("", ("lmdb",))),
    "weights of another shape": (
        (*TRAIN, "-weights", "shape.caffemodel"),
        Fault("", ("'conv'", "param 0")),
    ),
    "weights of another count": ((*TRAIN, "-weights", "count.caffemodel"), Fault("", ("conv",))),
    "weights without their values": (
        (*TRAIN, "-weights", "empty.caffemodel"),
        Fault("", ("values",), "dies"),
    ),
    "truncated HDF5 weights": (
        (*TRAIN, "-weights", "cut.caffemodel.h5"),
        Fault("", ("cut",)),
    ),
    "unknown signal effect": ((*TRAIN, "-sigint_effect", "explode"), Fault("", ("explode",))),
    "GPU asked of none": ((*TRAIN, "-gpu", "0"), Fault("", ("GPU",))),
    "several GPUs": ((*TRAIN, "-gpu", "0,1"), Fault("", ("0,1",), "dies")),
    "GPU that is no number": ((*TRAIN, "-gpu", "first"), Fault("", ("first",), "crashes")),
    "test on a GPU of none": ((*TEST, "-gpu", "0"), Fault("", ("GPU",))),
    "time on a GPU of none": (("time", "-model", "net.prototxt", "-gpu", "1"), Fault("", ("GPU",))),
    "query of a GPU of none": (("device_query", "-gpu", "0"), Fault("", ("GPU",))),
    "query of all GPUs of none": (("device_query", "-gpu", "all"), Fault("", ("GPU",), "dies")),
    "query of a GPU that is no number": (
        ("device_query", "-gpu", "x"),
        Fault("", ("--gpu x",), "crashes"),
    ),
    "test without model": (("test", "-weights", "a"), Fault("", ("model",))),
    "test without weights": (("test", "-model", "net.prototxt"), Fault("", ("weights",))),
    "test of a missing model": (("test", "-model", "nope", *TEST[3:]), Fault("", ("nope",))),
    "time without model": (("time",), Fault("", ("model",))),
    "time in an unknown phase": (
        ("time", "-model", "net.prototxt", "-phase", "DEPLOY"),
        Fault("", ("DEPLOY|TRAIN",)),
    ),
}
FLAGS = {
    "unknown flag": ("train", "-solverr", "solver.prototxt"),
    "no value": ("train", "-solver"),
    "not a number": (*TRAIN, "-iterations", "many"),
    "a number with more behind it": (*TRAIN, "-level", "1x"),
    "a number that is too large": (*TRAIN, "-iterations", "99999999999"),
    "not a boolean": (*TRAIN, "-logtostderr=maybe"),
}
