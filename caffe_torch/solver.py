"""A solver: trains a net, tests others on the way, snapshots and resumes. Source: solver.cpp."""

from collections.abc import Callable
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch import hdf5_snapshots, prototext, snapshots, solver_nets, upgrade
from caffe_torch.log import FatalError, info, number
from caffe_torch.net import Net
from caffe_torch.options import Options
from caffe_torch.runtime import Runtime
from caffe_torch.signals import Action, no_action
from caffe_torch.solver_log import MeanLoss, Stopwatch, log_outputs
from caffe_torch.weight_update import WeightUpdate

_HDF5 = caffe_pb2.SolverParameter.HDF5


class Solver:
    """Trains `net` as a SolverParameter says.

    Attributes:
        net: the training net.
        test_nets: the nets to test, one per test_iter.
        iter: how often the weights have been updated.
        param: the SolverParameter.

    Args:
        param: the SolverParameter.
        runtime: device and random streams; by default the CPU and the parameter's random_seed.
        requested: polled after every iteration: what a signal asks for.
        options: what Caffe has not.

    Raises:
        FatalError: a setting, a net or a file of weights is wrong.
    """

    def __init__(
        self,
        param: Any,
        runtime: Runtime | None = None,
        requested: Callable[[], Action] = no_action,
        options: Options | None = None,
    ) -> None:
        self.param = param
        self.iter = 0
        self._requested = requested
        self._stopped = False
        self._options = options or Options()
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []
        info(
            "solver.cpp:45",
            "Initializing solver from parameters: \n" + prototext.debug_string(param),
        )
        self._check()
        self._runtime = runtime or Runtime.create(param.random_seed)
        self.net = self._load_weights(self._build(solver_nets.train_net(param)))
        self.test_nets = [
            self._load_weights(self._build(solver_nets.test_net(param, i, *source)))
            for i, source in enumerate(solver_nets.test_nets(param))
        ]
        for net in self.test_nets:
            net.debug_info = param.debug_info
        info("solver.cpp:57", "Solver scaffolding done.")
        if param.snapshot_format == _HDF5:
            hdf5_snapshots.check_layer_names(self.net)
        self._update = WeightUpdate(param, self.net.learned)
        self._loss = MeanLoss(param.average_loss)

    @classmethod
    def from_file(cls, path: str, gpu: int | None = None) -> "Solver":
        """The solver of a prototxt file, on the CPU or on one GPU.

        Raises:
            FatalError: a file is missing or wrong, or there is no such GPU.
        """
        param = upgrade.read_solver(path)
        return cls(param, Runtime.create(param.random_seed, gpu))

    # Construction

    def _build(self, param: Any) -> Net:
        """One of the solver's nets."""
        return Net(param, self._runtime)

    def _check(self) -> None:
        average = self.param.average_loss
        if average < 1:
            raise FatalError(
                "solver.cpp:48",
                f"Check failed: param_.average_loss() >= 1 ({average} vs. 1) average_loss should "
                "be non-negative.",
            )
        if self.param.iter_size < 1:
            raise FatalError(
                "solver.cpp:49",
                f"Check failed: param_.iter_size() >= 1 ({self.param.iter_size} vs. 1) give a "
                "positive iter_size, or leave it out",
            )
        snapshots.check_prefix(self.param)

    def _load_weights(self, net: Net) -> Net:
        for names in self.param.weights:
            for name in names.split(","):
                info("solver.cpp:72", f"Finetuning from {name.strip()}")
                net.copy_from(name.strip())
        return net

    # Training

    def solve(self, resume_file: str | None = None) -> None:
        """Train to max_iter, or until a signal stops it; snapshot; test at the end."""
        p = self.param
        info("solver.cpp:289", f"Solving {self.net.name}")
        info("solver.cpp:290", f"Learning Rate Policy: {p.lr_policy}")
        self._stopped = False
        if resume_file:
            info("solver.cpp:296", f"Restoring previous solver status from {resume_file}")
            self.restore(resume_file)
        self.step(p.max_iter - self.iter)
        if p.snapshot_after_train and (not p.snapshot or self.iter % p.snapshot != 0):
            self.snapshot()
        if self._stopped:
            info("solver.cpp:311", "Optimization stopped early.")
            return
        if p.display and self.iter % p.display == 0:
            with torch.no_grad():
                self.net.forward_only()
                self._loss.add(self.net.loss())
            info("solver.cpp:327", f"Iteration {self.iter}, loss = {number(self._loss.value())}")
        if p.test_interval and self.iter % p.test_interval == 0:
            self._test_all()
        info("solver.cpp:332", "Optimization Done.")

    def step(self, iterations: int) -> None:
        """Train for a number of iterations, with tests, displays and snapshots on the way."""
        p = self.param
        stop = self.iter + iterations
        self._loss, stopwatch = MeanLoss(p.average_loss), Stopwatch(self.iter)
        while self.iter < stop:
            self.net.clear_param_diffs()
            if (
                p.test_interval
                and self.iter % p.test_interval == 0
                and (self.iter > 0 or p.test_initialization)
            ):
                self._test_all()
                if self._stopped:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            display = bool(p.display) and self.iter % p.display == 0
            self.net.debug_info = display and p.debug_info
            losses = [self.net.forward_backward() for _ in range(p.iter_size)]
            loss = sum(losses[1:], losses[0]) / p.iter_size
            self._options.check_finite("loss", self.iter, loss.sum)
            self._loss.add(loss)
            if display:
                self._display(stopwatch.read(self.iter, p.display))
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            self.iter += 1
            request = self._requested()
            if (p.snapshot and self.iter % p.snapshot == 0) or request is Action.SNAPSHOT:
                self.snapshot()
            if request is Action.STOP:
                self._stopped = True
                break

    def apply_update(self) -> None:
        """Update the weights from the gradients that the net has."""
        self._update.apply(self.iter)

    def add_callback(
        self, on_start: Callable[[], object], on_gradients_ready: Callable[[], object]
    ) -> None:
        """Call these in every iteration: before its first forward pass, before its update."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net: Net) -> None:
        """Make another net use this solver's parameters, in the layers of the same names."""
        net.share_from(self.net)

    @property
    def lr(self) -> float:
        """The learning rate of the present iteration."""
        return self._update.rate(self.iter)

    def _display(self, speed: str) -> None:
        loss = number(self._loss.value())
        info("solver.cpp:239", f"Iteration {self.iter} ({speed}), loss = {loss}")
        outputs = [self.net.blobs[name].tensor.reshape(-1) for name in self.net.outputs]
        log_outputs("solver.cpp:258", "Train", self.net, outputs)

    # Testing

    def _test_all(self) -> None:
        for index in range(len(self.test_nets)):
            if self._stopped:
                return
            self._test(index)

    def _test(self, index: int) -> None:
        """Run a test net test_iter times and log its outputs' means."""
        p = self.param
        info("solver.cpp:347", f"Iteration {self.iter}, Testing net (#{index})")
        net = self.test_nets[index]
        net.share_from(self.net)
        sums: list[torch.Tensor] = []
        loss = torch.zeros((), device=self._runtime.device)
        for i in range(p.test_iter[index]):
            if self._serve_requests():
                break
            with torch.no_grad():
                net.forward_only()
                scores = [net.blobs[name].tensor.reshape(-1) for name in net.outputs]
                if p.test_compute_loss:
                    loss = loss + net.loss()
                sums = [s + x for s, x in zip(sums, scores, strict=True)] if i else scores
        if self._stopped:
            info("solver.cpp:387", "Test interrupted.")
            return
        if p.test_compute_loss:
            info("solver.cpp:401", f"Test loss: {number(float(loss) / p.test_iter[index])}")
        means = [s / p.test_iter[index] for s in sums]
        log_outputs("solver.cpp:414", "Test", net, means)

    def _serve_requests(self) -> bool:
        """Do what signals asked for during a test; whether to stop."""
        while (request := self._requested()) is not Action.NONE:
            if request is Action.SNAPSHOT:
                self.snapshot()
            else:
                self._stopped = True
        return self._stopped

    # Snapshots

    def snapshot(self) -> None:
        """Write `<prefix>_iter_<n>.caffemodel` and `.solverstate`, in HDF5 with `.h5` behind.

        Raises:
            FatalError: they cannot be written; with die_on_nan, the weights are not finite.
        """
        p = self.param
        for item in self.net.learned:
            norm = item.blob.tensor.detach().norm
            self._options.check_finite("norm of the weights", self.iter, norm)
        stem = f"{p.snapshot_prefix}_iter_{self.iter}"
        model, state = f"{stem}.caffemodel", f"{stem}.solverstate"
        if p.snapshot_format == _HDF5:
            model, state = f"{model}.h5", f"{state}.h5"
            info("solver.cpp:474", f"Snapshotting to HDF5 file {model}")
            self.net.save_hdf5(model, p.snapshot_diff)
            info("sgd_solver.cpp:296", f"Snapshotting solver state to HDF5 file {state}")
        else:
            info("solver.cpp:464", f"Snapshotting to binary proto file {model}")
            self.net.save(model, p.snapshot_diff)
            info("sgd_solver.cpp:284", f"Snapshotting solver state to binary proto file {state}")
        history = [values.cpu().numpy() for values in self._update.history]
        snapshots.save(state, snapshots.State(self.iter, model, self._update.rate.step, history))

    def restore(self, path: str) -> None:
        """Continue from a solverstate, of either format, and the weights that it names.

        Raises:
            FatalError: a file is missing, damaged, or of another net or solver.
        """
        state = snapshots.load(path)
        self.iter = state.iteration
        if state.learned_net is not None:
            self.net.copy_from(state.learned_net)
        self._update.rate.step = state.step
        history = self._update.history
        fitting = snapshots.fit(path, state, [tuple(values.shape) for values in history])
        with torch.no_grad():
            for target, values in zip(history, fitting, strict=True):
                target.copy_(torch.from_numpy(values))
