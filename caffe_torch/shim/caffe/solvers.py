"""pycaffe's solvers."""

from typing import Any, ClassVar

from caffe_torch import solver, upgrade

from .modes import runtime
from .pycaffe import Net


class Solver(solver.Solver):
    """The solver of a prototxt file, on the device of `set_mode_gpu` or the CPU.

    Args:
        solver_file: the SolverParameter's prototxt; its solver_mode is not asked, as in pycaffe.

    Raises:
        FatalError: a setting, a net or a file is wrong.
    """

    type: ClassVar[str] = ""

    def __init__(self, solver_file: str) -> None:
        param = upgrade.read_solver(str(solver_file))
        if self.type:
            param.type = self.type
        super().__init__(param, runtime(param.random_seed))

    def _build(self, param: Any) -> Net:
        return Net.of(param, self._runtime)

    def step(self, iterations: int) -> None:
        """Train; of the passes only the last is made for looking at, unless there are callbacks."""
        last = self.iter + iterations - 1
        net = self.net
        assert isinstance(net, Net)  # noqa: S101
        net.observed = lambda: bool(self._callbacks) or self.iter >= last
        super().step(iterations)
        net.observed = lambda: True


class SGDSolver(Solver):
    """Momentum."""

    type = "SGD"


class NesterovSolver(Solver):
    """Nesterov's accelerated gradient."""

    type = "Nesterov"


class AdaGradSolver(Solver):
    """AdaGrad."""

    type = "AdaGrad"


class RMSPropSolver(Solver):
    """RMSProp."""

    type = "RMSProp"


class AdaDeltaSolver(Solver):
    """AdaDelta."""

    type = "AdaDelta"


class AdamSolver(Solver):
    """Adam."""

    type = "Adam"


def get_solver(solver_file: str) -> Solver:
    """The solver of the file's own `type`.

    Raises:
        FatalError: a setting, a net or a file is wrong.
    """
    name = upgrade.read_solver(str(solver_file)).type
    known = {kind.type: kind for kind in Solver.__subclasses__()}
    return known.get(name, Solver)(solver_file)
