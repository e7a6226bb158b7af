"""A solver: trains a net, tests others on the way, snapshots and resumes. Source: solver.cpp."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch import prototext, solver_nets, upgrade
from caffe_torch.blob import from_proto, to_proto
from caffe_torch.learning_rate import LearningRate
from caffe_torch.log import FatalError, info, number
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from caffe_torch.signals import Action, no_action
from caffe_torch.update_rules import create_rule


class Solver:
    """Trains `net` as a SolverParameter says.

    Attributes:
        net: the training net.
        test_nets: the nets to test, one per test_iter.
        iter: how often the weights have been updated.

    Args:
        param: the SolverParameter.
        runtime: device and random streams; by default the CPU and the parameter's random_seed.
        requested: polled after every iteration: what a signal asks for.

    Raises:
        FatalError: a setting, a net or a file of weights is wrong.
    """

    def __init__(
        self,
        param: Any,
        runtime: Runtime | None = None,
        requested: Callable[[], Action] = no_action,
    ) -> None:
        self.param = param
        self.iter = 0
        self._requested = requested
        self._stopped = False
        self._losses: list[np.float32] = []
        self._pending: list[torch.Tensor] = []
        self._smoothed = np.float32(0)
        self._start_iter = 0
        self._shown_iter = 0
        self._shown_time = time.monotonic()
        info(
            "solver.cpp:45",
            "Initializing solver from parameters: \n" + prototext.debug_string(param),
        )
        self._check()
        self._runtime = runtime or Runtime.create(param.random_seed)
        self.net = self._load_weights(Net(solver_nets.train_net(param), self._runtime))
        self.test_nets = [
            self._load_weights(Net(solver_nets.test_net(param, i, *source), self._runtime))
            for i, source in enumerate(solver_nets.test_nets(param))
        ]
        info("solver.cpp:57", "Solver scaffolding done.")
        self._tensors = [learned.blob.tensor for learned in self.net.learned]
        self._rule = create_rule(param, self._tensors)
        self._rate = LearningRate(param)

    @classmethod
    def from_file(cls, path: str, gpu: int | None = None) -> "Solver":
        """The solver of a prototxt file, on the CPU or on one GPU.

        Raises:
            FatalError: a file is missing or wrong, or there is no such GPU.
        """
        param = upgrade.read_solver(path)
        return cls(param, Runtime.create(param.random_seed, gpu))

    # Construction

    def _check(self) -> None:
        p = self.param
        if p.average_loss < 1:
            raise FatalError(
                "solver.cpp:48",
                f"Check failed: param_.average_loss() >= 1 ({p.average_loss} vs. 1) average_loss "
                "should be non-negative.",
            )
        if p.snapshot and not p.HasField("snapshot_prefix"):
            raise FatalError(
                "solver.cpp:50",
                "Check failed: param_.has_snapshot_prefix() In solver params, snapshot was "
                "specified but snapshot_prefix was not; set snapshot_prefix",
            )
        folder = Path(f"{p.snapshot_prefix}x").parent
        if p.snapshot and not os.access(folder, os.W_OK | os.X_OK):
            raise FatalError(
                "solver.cpp:448",
                f"Cannot write to snapshot prefix '{p.snapshot_prefix}'.  Make sure that the "
                "directory exists and is writable.",
            )
        if p.snapshot_format == caffe_pb2.SolverParameter.HDF5:
            raise FatalError(
                "solver.cpp:450",
                "Unsupported snapshot format: HDF5; this engine writes BINARYPROTO, remove "
                "snapshot_format or set it so",
            )

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
                self.net.forward()
                self._note_loss(self.net.loss())
            loss = self._smooth_loss()
            info("solver.cpp:327", f"Iteration {self.iter}, loss = {number(loss)}")
        if p.test_interval and self.iter % p.test_interval == 0:
            self._test_all()
        info("solver.cpp:332", "Optimization Done.")

    def step(self, iterations: int) -> None:
        """Train for a number of iterations, with tests, displays and snapshots on the way."""
        p = self.param
        self._start_iter, stop = self.iter, self.iter + iterations
        self._losses, self._pending, self._smoothed = [], [], np.float32(0)
        self._shown_time = time.monotonic()
        self._shown_iter = self.iter
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
            losses = [self.net.forward_backward() for _ in range(p.iter_size)]
            self._note_loss(sum(losses[1:], losses[0]) / p.iter_size)
            if p.display and self.iter % p.display == 0:
                self._display()
            self._apply_update()
            self.iter += 1
            request = self._requested()
            if (p.snapshot and self.iter % p.snapshot == 0) or request is Action.SNAPSHOT:
                self.snapshot()
            if request is Action.STOP:
                self._stopped = True
                break

    def _note_loss(self, loss: torch.Tensor) -> None:
        self._pending.append(loss)
        if len(self._pending) > 1000:
            self._smooth_loss()

    def _smooth_loss(self) -> float:
        """The mean of the last average_loss losses, updated in float32 in Caffe's order."""
        window = self.param.average_loss
        losses: list[np.float32] = []
        if self._pending:
            losses = list(torch.stack(self._pending).float().cpu().numpy())
        first = self.iter - len(losses) + 1 - self._start_iter
        for i, loss in enumerate(losses):
            if len(self._losses) < window:
                self._losses.append(loss)
                n = np.float32(len(self._losses))
                self._smoothed = (self._smoothed * (n - 1) + loss) / n
            else:
                place = (first + i) % window
                with np.errstate(invalid="ignore"):
                    self._smoothed += (loss - self._losses[place]) / np.float32(window)
                self._losses[place] = loss
        self._pending = []
        return float(self._smoothed)

    def _display(self) -> None:
        p = self.param
        loss = self._smooth_loss()
        now = time.monotonic()
        seconds = now - self._shown_time
        speed = (self.iter - self._shown_iter) / seconds if seconds else 0.0
        info(
            "solver.cpp:239",
            f"Iteration {self.iter} ({number(speed)} iter/s, {number(round(seconds, 3))}s/"
            f"{p.display} iters), loss = {number(loss)}",
        )
        self._shown_time, self._shown_iter = now, self.iter
        outputs = [self.net.blobs[name].tensor.reshape(-1) for name in self.net.outputs]
        self._log_outputs("solver.cpp:258", "Train", self.net, outputs)

    def _apply_update(self) -> None:
        p = self.param
        rate = self._rate(self.iter)
        if p.display and self.iter % p.display == 0:
            info("sgd_solver.cpp:112", f"Iteration {self.iter}, lr = {number(rate)}")
        learned = self.net.learned
        if not learned:
            return
        with torch.no_grad():
            gradients = [
                torch.zeros_like(item.blob.tensor) if (g := item.blob.gradient) is None else g
                for item in learned  # a frozen one too: it decays, and its history goes on
            ]
            self._clip(gradients)
            if p.iter_size > 1:
                torch._foreach_mul_(gradients, 1 / p.iter_size)
            self._regularize(gradients, [item.decay_mult for item in learned])
            rates = [rate * item.lr_mult for item in learned]
            self._rule.update(gradients, rates, self.iter)
            torch._foreach_sub_(self._tensors, gradients)

    def _clip(self, gradients: list[torch.Tensor]) -> None:
        """Scale all gradients down to an L2 norm of clip_gradients, if theirs is larger."""
        limit = self.param.clip_gradients
        if limit < 0:
            return
        norms = torch.stack(list(torch._foreach_norm(gradients)))
        norm = float(torch.linalg.vector_norm(norms))
        if norm > limit:
            scale = limit / norm
            info(
                "sgd_solver.cpp:94",
                f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > "
                f"{number(limit)}) by scale factor {number(scale)}",
            )
            torch._foreach_mul_(gradients, scale)

    def _regularize(self, gradients: list[torch.Tensor], mults: list[float]) -> None:
        p, data = self.param, self._tensors
        if not p.weight_decay:
            return
        decays = [p.weight_decay * mult for mult in mults]
        if p.regularization_type == "L2":
            torch._foreach_add_(gradients, list(torch._foreach_mul(data, decays)))
        elif p.regularization_type == "L1":
            signs = list(torch._foreach_sign(data))
            torch._foreach_add_(gradients, list(torch._foreach_mul(signs, decays)))
        else:
            raise FatalError(
                "sgd_solver.cpp:181",
                f"Unknown regularization type: {p.regularization_type} (known: L1, L2)",
            )

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
            info("solver.cpp:392", f"Test loss: {number(float(loss) / p.test_iter[index])}")
        means = [s / p.test_iter[index] for s in sums]
        self._log_outputs("solver.cpp:414", "Test", net, means)

    def _serve_requests(self) -> bool:
        """Do what signals asked for during a test; whether to stop."""
        while (request := self._requested()) is not Action.NONE:
            if request is Action.SNAPSHOT:
                self.snapshot()
            else:
                self._stopped = True
        return self._stopped

    @staticmethod
    def _log_outputs(where: str, kind: str, net: Net, outputs: Sequence[torch.Tensor]) -> None:
        values = torch.cat(list(outputs)).tolist() if outputs else []
        names = [
            name
            for name, output in zip(net.outputs, outputs, strict=True)
            for _ in range(len(output))
        ]
        for i, (name, value) in enumerate(zip(names, values, strict=True)):
            weight = net.loss_weight(name)
            note = f" (* {number(weight)} = {number(weight * value)} loss)" if weight else ""
            info(where, f"    {kind} net output #{i}: {name} = {number(value)}{note}")

    # Snapshots

    def snapshot(self) -> None:
        """Write `<prefix>_iter_<n>.caffemodel` and `.solverstate`.

        Raises:
            FatalError: they cannot be written.
        """
        stem = f"{self.param.snapshot_prefix}_iter_{self.iter}"
        model, state = f"{stem}.caffemodel", f"{stem}.solverstate"
        info("solver.cpp:464", f"Snapshotting to binary proto file {model}")
        self.net.save(model)
        info("sgd_solver.cpp:284", f"Snapshotting solver state to binary proto file {state}")
        proto = caffe_pb2.SolverState(
            iter=self.iter, learned_net=model, current_step=self._rate.step
        )
        proto.history.extend(to_proto(h.cpu().numpy()) for h in self._rule.history)
        prototext.write_binary(state, proto)

    def restore(self, path: str) -> None:
        """Continue from a solverstate and the caffemodel it names.

        Raises:
            FatalError: a file is missing, damaged, HDF5, or of another net or solver.
        """
        if Path(path).suffix == ".h5":
            raise FatalError(
                "solver.cpp:510",
                f"{path} is an HDF5 solver state: this engine reads BINARYPROTO .solverstate files",
            )
        state = prototext.read_binary(path, caffe_pb2.SolverState(), "sgd_solver.cpp:322")
        self.iter = state.iter
        if state.HasField("learned_net"):
            self.net.copy_from(state.learned_net)
        self._rate.step = state.current_step
        history = self._rule.history
        if len(state.history) != len(history):
            raise FatalError(
                "sgd_solver.cpp:334",
                f"Check failed: state.history_size() == history_.size() ({len(state.history)} vs. "
                f"{len(history)}) Incorrect length of history blobs: {path} is of another net or "
                "another solver type",
            )
        info("sgd_solver.cpp:336", "SGDSolver: restoring history")
        with torch.no_grad():
            for target, proto in zip(history, state.history, strict=True):
                values = torch.from_numpy(from_proto(proto))
                if values.numel() != target.numel():
                    raise FatalError(
                        "blob.cpp:470",
                        f"Check failed: ShapeEquals(proto) shape mismatch (reshape not set): the "
                        f"history in {path} is of another net",
                    )
                target.copy_(values.reshape(target.shape))
