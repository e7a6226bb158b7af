"""The nets that a SolverParameter names, with the states that it gives them."""

from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch import upgrade
from caffe_torch.log import FatalError, info


def train_net(param: Any) -> Any:
    """The training net's NetParameter, in phase TRAIN and the solver's train_state.

    Raises:
        FatalError: not exactly one field names the net, or its file is missing or wrong.
    """
    fields = ("net", "net_param", "train_net", "train_net_param")
    given = [name for name in fields if param.HasField(name)]
    if len(given) != 1:
        names = ", ".join(fields)
        if not given:
            raise FatalError(
                "solver.cpp:82",
                "Check failed: num_train_nets >= 1 (0 vs. 1) SolverParameter must specify a train "
                f"net using one of these fields: {names}",
            )
        raise FatalError(
            "solver.cpp:84",
            f"Check failed: num_train_nets <= 1 ({len(given)} vs. 1) SolverParameter must not "
            f"contain more than one of these fields specifying a train_net: {names} (it has "
            f"{' and '.join(given)})",
        )
    source = given[0]
    value = getattr(param, source)
    if source.endswith("param"):
        line = 88 if source.startswith("train") else 97
        info(f"solver.cpp:{line}", f"Creating training net specified in {source}.")
        net = _copy(value)
    else:
        line = 92 if source == "train_net" else 102
        info(f"solver.cpp:{line}", f"Creating training net from {source} file: {value}")
        net = upgrade.read_net(value)
    state = caffe_pb2.NetState(phase=caffe_pb2.TRAIN)
    state.MergeFrom(net.state)
    state.MergeFrom(param.train_state)
    net.state.CopyFrom(state)
    return net


def test_nets(param: Any) -> list[tuple[str, Any]]:
    """The test nets: of each, what names it, and its NetParameter, read and brought up to date.

    First those of test_net_param, then of test_net; for test_iter values left over, the net
    that is also the training net. All are read before the first is made.

    Raises:
        FatalError: their number is not that of test_iter or test_state, there is no
            test_interval, or a file is missing or wrong.
    """
    sources: list[tuple[str, Any]] = [("test_net_param", net) for net in param.test_net_param]
    sources += [("test_net file", path) for path in param.test_net]
    if param.HasField("net_param"):
        sources += [("net_param", param.net_param)] * (len(param.test_iter) - len(sources))
    elif param.HasField("net"):
        sources += [("net file", param.net)] * (len(param.test_iter) - len(sources))
    if len(sources) != len(param.test_iter):
        generic = param.HasField("net_param") or param.HasField("net")
        raise FatalError(
            f"solver.cpp:{132 if generic else 135}",
            f"Check failed: param_.test_iter_size() {'>=' if generic else '=='} num_test_nets "
            f"({len(param.test_iter)} vs. {len(sources)}) test_iter must be specified for each "
            "test network.",
        )
    if len(param.test_state) not in (0, len(sources)):
        raise FatalError(
            "solver.cpp:146",
            f"Check failed: param_.test_state_size() == num_test_net_instances "
            f"({len(param.test_state)} vs. {len(sources)}) test_state must be unspecified or "
            "specified once per test net.",
        )
    if sources and param.test_interval <= 0:
        raise FatalError(
            "solver.cpp:150",
            f"Check failed: param_.test_interval() > 0 ({param.test_interval} vs. 0) (there is a "
            "test net: set test_interval)",
        )
    return [
        (kind, _copy(value))
        if kind.endswith("param")
        else (f"{kind}: {value}", upgrade.read_net(value))
        for kind, value in sources
    ]


def test_net(param: Any, index: int, source: str, net: Any) -> Any:
    """One of `test_nets`, in phase TEST and its test_state."""
    info("solver.cpp:190", f"Creating test net (#{index}) specified by {source}")
    net.state.phase = caffe_pb2.TEST
    if param.test_state:
        net.state.MergeFrom(param.test_state[index])
    return net


def _copy(net: Any) -> Any:
    copy = caffe_pb2.NetParameter()
    copy.CopyFrom(net)
    return upgrade.upgrade_net(copy, "the solver's own net")
