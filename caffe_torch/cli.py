"""The `caffe` command: train, test, time, device_query; export and python, which Caffe has not.

Source: Caffe's tools/caffe.cpp.

PyTorch is imported only once a net is to be built, so that wrong flags are told at once.
"""

import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from caffe_torch import __version__, flags, log
from caffe_torch.flags import FlagError, Flags
from caffe_torch.log import FatalError, info, number


def main() -> NoReturn:
    """Run the command line and end the process with Caffe's exit status."""
    if sys.argv[1:2] == ["python"]:
        python(sys.argv[2:])
    status = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # neither the prefetching threads nor PyTorch's need a farewell


def python(arguments: Sequence[str]) -> NoReturn:
    """Run a Python script that imports caffe, and end as it does; a fatal error aborts."""
    from caffe_torch import scripts

    try:
        sys.exit(scripts.main(arguments))
    except FatalError as failure:
        log.fatal(failure)
        _abort()


def run(arguments: Sequence[str]) -> int:
    """Run one command; the process aborts on a fatal error.

    Returns:
        The exit status: 0, or 1 for a refused flag.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        values, positional = flags.parse(arguments)
    except FlagError as error:
        print(error, file=sys.stderr)
        return 1
    if values.version:
        print(f"caffe version 1.0.0 ({_engine()})")
        return 0
    if values.help or values.helpshort or len(positional) != 1:
        flags.usage()
        return int(values.help or values.helpshort)
    if values.minloglevel:
        log.set_minimum_level(values.minloglevel)
    try:
        _command(positional[0])(values)
    except FatalError as failure:
        log.fatal(failure)
        _abort()
    except Exception as error:
        log.fatal(_failure(error))
        _abort()
    return 0


def _failure(error: Exception) -> FatalError:
    """The fatal error of an exception that is none: no memory left, or a defect."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate", reason):
        return FatalError(
            "syncedmem.hpp:22",
            f"Check failed: *ptr host allocation of memory failed, out of memory ({reason}): make "
            "the batch or the net smaller",
        )
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return FatalError(where, f"{reason} (a defect of this engine in {place.name}: report it)")


def _abort() -> NoReturn:
    """Die of SIGABRT, without a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.abort()


def _engine() -> str:
    return f"caffe_torch {__version__}, PyTorch {metadata.version('torch')}"


def _command(name: str) -> Callable[[Flags], None]:
    commands: dict[str, Callable[[Flags], None]] = {
        "device_query": device_query,
        "export": export,
        "test": test,
        "time": time_net,
        "train": train,
    }
    if name not in commands:
        log.error("caffe.cpp:78", "Available caffe actions:")
        for command in commands:
            log.error("caffe.cpp:81", f"\t{command}")
        raise FatalError("caffe.cpp:83", f"Unknown action: {name}")
    return commands[name]


def _require(value: str, line: int, name: str, purpose: str) -> None:
    if not value:
        raise FatalError(
            f"caffe.cpp:{line}",
            f"Check failed: FLAGS_{name}.size() > 0 (0 vs. 0) {purpose} (give --{name} FILE)",
        )


def _gpu_id(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise FatalError(
            "caffe.cpp:117",
            f"--gpu {text}: this engine runs on one GPU; give one device id, such as --gpu 0",
        ) from None


def _log_device(line_cpu: int, runtime: Any, threads: int) -> None:
    where = f"device {runtime.device}, {threads} thread(s)"
    if runtime.precision != "fp32":
        where += f", precision {runtime.precision}"
    info(f"caffe.cpp:{line_cpu}", f"Engine: {_engine()}, {where}.")


def _stages(text: str) -> list[str]:
    return text.split(",")


def train(values: Flags) -> None:
    """Train or finetune: --solver, --snapshot or --weights, --gpu, --sigint_effect, …."""
    _require(values.solver, 167, "solver", "Need a solver definition to train.")
    if values.snapshot and values.weights:
        raise FatalError(
            "caffe.cpp:168",
            "Check failed: !FLAGS_snapshot.size() || !FLAGS_weights.size() Give a snapshot to "
            "resume training or weights to finetune but not both.",
        )
    import prototxt_gen.caffe_pb2 as caffe_pb2

    from caffe_torch import upgrade

    param = upgrade.read_solver(values.solver)
    param.train_state.level = values.level
    param.train_state.stage.extend(_stages(values.stage))
    gpu = values.gpu
    if (
        not gpu
        and param.HasField("solver_mode")
        and param.solver_mode == caffe_pb2.SolverParameter.GPU
    ):
        gpu = str(param.device_id)
    if gpu:
        info("caffe.cpp:204", f"Using GPUs {', '.join(gpu.split(','))}")
        param.device_id = _gpu_id(gpu)
        param.solver_mode = caffe_pb2.SolverParameter.GPU
    else:
        info("caffe.cpp:197", "Use CPU.")
    from caffe_torch import signals

    handler = signals.SignalHandler(
        signals.effect(values.sigint_effect),
        signals.effect(values.sighup_effect),
        signals.effect(values.sigterm_effect) if values.sigterm_effect else None,
    )
    import torch

    from caffe_torch.options import Options
    from caffe_torch.runtime import Runtime, prepare_process
    from caffe_torch.solver import Solver

    prepare_process()
    device = param.device_id if gpu else None
    runtime = Runtime.create(param.random_seed, device, values.precision)
    _log_device(197, runtime, torch.get_num_threads())
    if values.weights:
        del param.weights[:]
        param.weights.append(values.weights)
    solver = Solver(param, runtime, handler.poll, Options(die_on_nan=values.die_on_nan))
    if values.snapshot:
        info("caffe.cpp:235", f"Resuming from {values.snapshot}")
        solver.restore(values.snapshot)
    info("caffe.cpp:239", "Starting Optimization")
    solver.solve()
    info("caffe.cpp:250", "Optimization Done.")


def _build(values: Flags, phase: int, weights: str | None, line_gpu: int, line_cpu: int) -> Any:
    """The net of --model, on the device of --gpu."""
    if values.gpu:
        info(f"caffe.cpp:{line_gpu}", f"Use GPU with device ID {values.gpu}")
    else:
        info(f"caffe.cpp:{line_cpu}", "Use CPU.")
    gpu = _gpu_id(values.gpu) if values.gpu else None
    import torch

    from caffe_torch.net import Net
    from caffe_torch.runtime import Runtime, prepare_process

    prepare_process()
    runtime = Runtime.create(gpu=gpu, precision=values.precision)
    _log_device(line_cpu, runtime, torch.get_num_threads())
    stages = _stages(values.stage)
    return Net.from_file(values.model, phase, weights, runtime, values.level, stages)


def test(values: Flags) -> None:
    """Score a model: --model, --weights, --iterations, --gpu."""
    _require(values.model, 258, "model", "Need a model definition to score.")
    _require(values.weights, 259, "weights", "Need model weights to score.")
    import prototxt_gen.caffe_pb2 as caffe_pb2

    net = _build(values, caffe_pb2.TEST, values.weights, 266, 275)
    info("caffe.cpp:281", f"Running for {values.iterations} iterations.")
    import torch

    losses: list[float] = []
    sums: list[float] = []
    names: list[str] = []
    for i in range(values.iterations):
        with torch.no_grad():
            net.forward_only()
            losses.append(float(net.loss()))
        outputs = [(name, net.blobs[name].tensor.flatten().tolist()) for name in net.outputs]
        names = [name for name, scores in outputs for _ in scores]
        scores = [score for _, scores in outputs for score in scores]
        for name, score in zip(names, scores, strict=True):
            info("caffe.cpp:304", f"Batch {i}, {name} = {number(score)}")
        sums = [a + b for a, b in zip(sums or [0.0] * len(scores), scores, strict=True)]
    count = max(values.iterations, 1)
    info("caffe.cpp:309", f"Loss: {number(sum(losses) / count)}")
    for name, total in zip(names, sums, strict=True):
        mean = total / count
        weight = net.loss_weight(name)
        note = f" (* {number(weight)} = {number(weight * mean)} loss)" if weight else ""
        info("caffe.cpp:321", f"{name} = {number(mean)}{note}")


def _phase(text: str) -> int:
    import prototxt_gen.caffe_pb2 as caffe_pb2

    if text not in ("TRAIN", "TEST"):
        raise FatalError(
            "caffe.cpp:119", f'phase must be "TRAIN" or "TEST" (--phase {text} is neither)'
        )
    return int(caffe_pb2.Phase.Value(text))


def time_net(values: Flags) -> None:
    """Benchmark a model layer by layer: --model, --weights, --iterations, --phase, --gpu."""
    _require(values.model, 331, "model", "Need a model definition to time.")
    phase = _phase(values.phase or "TRAIN")
    net = _build(values, phase, values.weights or None, 339, 343)
    from caffe_torch import benchmark

    benchmark.run(net, values.iterations)


def export(values: Flags) -> None:
    """Write a trained model for others: --model, --weights, --onnx, --state_dict, --shape, …."""
    _require(values.model, 331, "model", "Need a model definition to export.")
    _require(values.weights, 332, "weights", "Need model weights to export.")
    phase = _phase(values.phase or "TEST")
    from caffe_torch import export as exporter

    request = exporter.Request(
        model=values.model,
        weights=values.weights,
        onnx=values.onnx,
        state_dict=values.state_dict,
        phase=phase,
        level=values.level,
        stages=_stages(values.stage),
        shape=exporter.parse_shape(values.shape),
        transform=values.transform,
    )
    exporter.export(request)


def device_query(values: Flags) -> None:
    """Describe the GPUs that --gpu names."""
    info("caffe.cpp:138", f"Querying GPUs {values.gpu}")
    if not values.gpu:
        return
    import torch

    from caffe_torch.runtime import Runtime

    available = range(torch.cuda.device_count() or 1)  # of none, the first is refused
    for gpu in available if values.gpu == "all" else map(_gpu_id, values.gpu.split(",")):
        Runtime.create(gpu=gpu)
        properties = torch.cuda.get_device_properties(gpu)
        info("common.cpp:177", f"Device id:                     {gpu}")
        info("common.cpp:179", f"Major revision number:         {properties.major}")
        info("common.cpp:180", f"Minor revision number:         {properties.minor}")
        info("common.cpp:181", f"Name:                          {properties.name}")
        info("common.cpp:182", f"Total global memory:           {properties.total_memory}")
        info("common.cpp:199", f"Number of multiprocessors:     {properties.multi_processor_count}")
