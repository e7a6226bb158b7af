"""From a NetParameter as written to the layers a net runs: rules of phase, splits of blobs."""

from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch.log import FatalError, info


def filter_net(param: Any) -> Any:
    """The net without the layers whose include and exclude rules do not fit its state.

    Raises:
        FatalError: a layer has both include and exclude rules.
    """
    filtered = caffe_pb2.NetParameter()
    filtered.CopyFrom(param)
    del filtered.layer[:]
    for layer in param.layer:
        if layer.include and layer.exclude:
            raise FatalError(
                "net.cpp:269",
                "Check failed: layer_param.include_size() == 0 || layer_param.exclude_size() == 0 "
                f"Specify either include rules or exclude rules; not both. (layer '{layer.name}')",
            )
        if layer.include:
            keep = any(_meets(param.state, rule, layer.name) for rule in layer.include)
        else:
            keep = not any(_meets(param.state, rule, layer.name) for rule in layer.exclude)
        if keep:
            filtered.layer.add().CopyFrom(layer)
    return filtered


def _meets(state: Any, rule: Any, layer: str) -> bool:
    """Whether a rule fits; logs the first thing that does not."""
    reason = ""
    where = 296
    if rule.HasField("phase") and rule.phase != state.phase:
        reason = f"The NetState phase ({state.phase}) differed from the phase ({rule.phase})"
    elif rule.HasField("min_level") and state.level < rule.min_level:
        where = 306
        reason = f"The NetState level ({state.level}) is above the min_level ({rule.min_level})"
    elif rule.HasField("max_level") and state.level > rule.max_level:
        where = 316
        reason = f"The NetState level ({state.level}) is above the max_level ({rule.max_level})"
    for stage in rule.stage:
        if not reason and stage not in state.stage:
            where, reason = 332, f"The NetState did not contain stage '{stage}'"
    for stage in rule.not_stage:
        if not reason and stage in state.stage:
            where, reason = 347, f"The NetState contained a not_stage '{stage}'"
    if reason:
        info(f"net.cpp:{where}", f"{reason} specified by a rule in layer {layer}")
    return not reason


def insert_splits(param: Any) -> Any:
    """The net with a Split layer behind every blob that is read more than once.

    A blob with a loss weight counts as read once more.

    Raises:
        FatalError: a layer's bottom is nobody's top.
    """
    producer: dict[str, tuple[int, int]] = {}
    sources: dict[tuple[int, int], tuple[int, int]] = {}
    readers: dict[tuple[int, int], int] = {}
    for i, layer in enumerate(param.layer):
        for j, bottom in enumerate(layer.bottom):
            if bottom not in producer:
                raise FatalError(
                    "insert_splits.cpp:29",
                    f"Unknown bottom blob '{bottom}' (layer '{layer.name}', bottom index {j}): "
                    "no layer above makes it; correct the name or move the layer",
                )
            sources[i, j] = producer[bottom]
            readers[producer[bottom]] += 1
        for j, top in enumerate(layer.top):
            producer[top] = (i, j)
            weighted = j < len(layer.loss_weight) and layer.loss_weight[j] != 0
            readers[i, j] = int(weighted)
    split = caffe_pb2.NetParameter()
    split.CopyFrom(param)
    del split.layer[:]
    used: dict[tuple[int, int], int] = {}
    for i, layer in enumerate(param.layer):
        copy = split.layer.add()
        copy.CopyFrom(layer)
        for j, bottom in enumerate(layer.bottom):
            source = sources[i, j]
            if readers[source] > 1:
                maker = param.layer[source[0]].name
                copy.bottom[j] = f"{bottom}_{maker}_{source[1]}_split_{used[source]}"
                used[source] += 1
        for j, top in enumerate(layer.top):
            if readers[i, j] > 1:
                weight = layer.loss_weight[j] if j < len(layer.loss_weight) else 0.0
                _add_split(split, layer.name, top, j, readers[i, j], weight)
                used[i, j] = int(weight != 0)
                if weight:
                    del copy.loss_weight[:]
    return split


def _add_split(net: Any, maker: str, blob: str, index: int, readers: int, weight: float) -> None:
    name = f"{blob}_{maker}_{index}_split"
    layer = net.layer.add(name=name, type="Split", bottom=[blob])
    for k in range(readers):
        layer.top.append(f"{name}_{k}")
        if weight:
            layer.loss_weight.append(weight if k == 0 else 0.0)
