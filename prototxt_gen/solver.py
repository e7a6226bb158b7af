"""Training schemes as Caffe's solver prototxt."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import text_format

import prototxt_gen.caffe_pb2 as caffe_pb2


@dataclass(frozen=True)
class TrainingScheme:
    """The fields of a `SolverParameter` that the paper's training uses.

    Iterations are counted in batches. `solver_mode` None leaves the field out: Caffe's command
    then obeys `--gpu` alone, on GPU and on CPU builds alike. `lr_policy` is `fixed`, `step`
    (rate base_lr·gamma^⌊iteration/stepsize⌋) or `multistep` (gamma at each of `stepvalues`).

    Raises:
        ValueError: if the policy's own fields are missing or a count is not positive.
    """

    solver_type: str
    base_lr: float
    max_iter: int
    test_iter: int
    test_interval: int
    lr_policy: str = "fixed"
    gamma: float | None = None
    stepsize: int | None = None
    stepvalues: tuple[int, ...] = ()
    momentum: float = 0.9
    momentum2: float | None = None
    delta: float | None = None
    weight_decay: float = 0.0
    snapshot: int = 0
    display: int = 100
    random_seed: int | None = None
    solver_mode: str | None = None
    test_initialization: bool = True

    def __post_init__(self) -> None:
        if self.lr_policy not in {"fixed", "step", "multistep"}:
            raise ValueError(f"lr_policy is fixed, step or multistep, not {self.lr_policy!r}")
        if self.lr_policy == "step" and (self.gamma is None or not self.stepsize):
            raise ValueError("lr_policy step needs gamma and stepsize")
        if self.lr_policy == "multistep" and (self.gamma is None or not self.stepvalues):
            raise ValueError("lr_policy multistep needs gamma and stepvalues")
        if list(self.stepvalues) != sorted(self.stepvalues):
            raise ValueError("stepvalues must ascend")
        for name in ("max_iter", "test_iter", "test_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def solver_text(scheme: TrainingScheme, *, net: str, snapshot_prefix: str) -> str:
    """Write a scheme as solver prototxt.

    Args:
        scheme: what to write.
        net: path of the net's prototxt, as seen from where `caffe` will run.
        snapshot_prefix: path prefix of the snapshots, likewise.
    """
    out = caffe_pb2.SolverParameter(
        net=net,
        type=scheme.solver_type,
        test_iter=[scheme.test_iter],
        test_interval=scheme.test_interval,
        base_lr=scheme.base_lr,
        lr_policy=scheme.lr_policy,
        momentum=scheme.momentum,
        weight_decay=scheme.weight_decay,
        display=scheme.display,
        max_iter=scheme.max_iter,
        snapshot=scheme.snapshot,
        snapshot_prefix=snapshot_prefix,
        stepvalue=scheme.stepvalues,
    )
    for name in ("gamma", "stepsize", "momentum2", "delta", "random_seed"):
        value = getattr(scheme, name)
        if value is not None:
            setattr(out, name, value)
    if not scheme.test_initialization:
        out.test_initialization = False
    if scheme.solver_mode is not None:
        out.solver_mode = caffe_pb2.SolverParameter.SolverMode.Value(scheme.solver_mode)
    return str(text_format.MessageToString(out))
