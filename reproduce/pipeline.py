"""`metaqnn reproduce`: data, search, final training, table and report, each step resumable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.manifest import Manifest
from data_prep.mnist import prepare_mnist
from prototxt_gen.notation import parse
from prototxt_gen.shapes import Padding, total_cost
from reproduce.display import Display, Pace
from reproduce.experiments.schema import Experiment, FinalTraining
from reproduce.nets import PreparedData, final_plan
from reproduce.results.report import write_report
from reproduce.results.summary import BEST, best_trial
from reproduce.run import RunError, freeze, locked, provenance
from reproduce.search.agent import Agent
from reproduce.search.cost_cap import CostCap, CostCapError
from reproduce.search.loop import Resumed, Sampled, SearchEvent, Trained, search
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.search.space import SearchSpace
from reproduce.trainer import ExplorationTrainer
from reproduce.training.caffe import Caffe, find_caffe
from reproduce.training.executors import LocalExecutor, Slot
from reproduce.training.outcome import Outcome
from reproduce.training.trial import run_trial

REPLAY_MEMORY = "replay.sqlite"


def reproduce(
    experiment: Experiment,
    run_folder: Path,
    *,
    data: Path,
    cache: Path,
    gpus: Sequence[int],
    environment: Mapping[str, str],
    console: Console,
) -> Path:
    """Run or resume an experiment to its report; returns the report's page.

    Args:
        experiment: what to run.
        run_folder: where it is kept; a finished step found there is not done again.
        data: where prepared data sets lie.
        cache: where downloads are kept.
        gpus: the GPUs to train on, one trial at a time on each; none: the CPU.
        environment: CAFFE names the trainer, DATA_DIR the user's own files.
        console: where progress goes.

    Raises:
        RunError, CaffeError, CostCapError, DataError, TrainerBrokenError: one line each,
            nothing lost. A final training that failed raises RunError after the report.
    """
    agent = _agent(experiment)
    kept = _kept(experiment, agent)
    with locked(run_folder):
        freeze(experiment, run_folder)
        caffe = find_caffe(environment)
        memory = ReplayMemory(run_folder / REPLAY_MEMORY)
        try:
            with Display(console) as display:
                run = _Run(experiment, run_folder, memory, caffe, gpus, display, agent)
                run.announce(kept)
                run.prepare(data, cache, environment.get("DATA_DIR"))
                run.search()
                failures = run.train_finals()
            page = write_report(experiment, memory, run_folder / "report")
            if failures:
                raise RunError(f"{'; '.join(failures)}; the same command tries again")
            return page
        except KeyboardInterrupt:
            raise RunError("interrupted; the same command goes on from here") from None
        finally:
            memory.close()


def _agent(experiment: Experiment) -> Agent:
    """The experiment's agent, over its space and below its cost cap."""
    space = SearchSpace(experiment.space.rules(experiment.data))
    channels = experiment.data.image[0]
    macs = experiment.budget.max_forward_macs
    cap = None if macs is None else CostCap(space, channels, macs)
    return Agent(space, experiment.q_learning.constants, cap, channels)


def _kept(experiment: Experiment, agent: Agent) -> dict[str, float] | None:
    """How much of the space the cost cap keeps; None without a cap.

    Raises:
        CostCapError: if the schedule wants more models than there are.
    """
    total = agent.space.counts().architectures
    low, high = agent.cap.count() if agent.cap else (total, total)
    models = sum(stage.models for stage in experiment.q_learning.stages)
    if models > low:
        raise CostCapError(f"the schedule wants {models} models of a space of {low:g}")
    if agent.cap is None:
        return None
    return {"macs": agent.cap.macs, "low": low, "high": high, "architectures": total}


class _Run:
    """One run under way."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        memory: ReplayMemory,
        caffe: Caffe,
        gpus: Sequence[int],
        display: Display,
        agent: Agent,
    ) -> None:
        self.experiment, self.folder, self.memory = experiment, folder, memory
        self.caffe, self.display, self.agent = caffe, display, agent
        self.slots = [Slot(gpu=gpu) for gpu in gpus] or [Slot()]
        self.pace = Pace()
        self.sampled = self.sampled_macs = 0  # nets so far, and their forward MACs in all
        self.again = 0  # samples of trained nets since the last new one

    def announce(self, kept: dict[str, float] | None) -> None:
        """Say what is about to run, and keep it with the run.

        A run that goes on elsewhere names all its devices; `kept` is what the cost cap keeps.
        """
        experiment, memory = self.experiment, self.memory
        trainer = f"{self.caffe} ({self.caffe.kind})"
        gpus = ", ".join(str(slot.gpu) for slot in self.slots if slot.gpu is not None)
        device = f"GPU {gpus}" if gpus else "the CPU"
        earlier = memory.get("trainer")
        if earlier is None:
            memory.put(
                trainer=trainer,
                device=device,
                provenance=provenance(experiment, trainer, device),
                cost_cap=kept,
            )
        elif earlier != trainer:
            raise RunError(
                f"{self.folder} was trained by {earlier}, not by {trainer}: "
                "name that one with CAFFE=..., or another run with RUN=..."
            )
        elif device not in (devices := memory.get("device")).split(", then "):
            memory.put(device=f"{devices}, then {device}")
        say = self.display.line
        say(
            f"MetaQNN on {experiment.title}: preset {experiment.preset}, "
            f"budget {experiment.budget_name}, seed {experiment.seed}"
        )
        say(f"Trainer: {trainer}, on {device}")
        say(f"Run: {self.folder}")

    def _check(self, manifest: Manifest) -> None:
        """The data must be what the experiment says that it is."""
        said = self.experiment.data
        found = {name: database.records for name, database in manifest.databases.items()}
        for what, one, other in (
            ("image", said.image, manifest.shape),
            ("classes", said.classes, manifest.classes),
            ("train_images", said.train_images, found["train_full"]),
            ("test_images", said.test_images, found["test"]),
        ):
            if one != other:
                raise RunError(f"the experiment says data.{what} {one}, the data has {other}")

    def prepare(self, data: Path, cache: Path, user_files: str | None) -> None:
        """Prepare the data set, unless it is there."""
        self.display.line("Data:")
        manifest = prepare_mnist(
            data,
            data_dir=Path(user_files) if user_files else None,
            seed=self.experiment.seed,
            validation=self.experiment.data.validation,
            subset=self.experiment.budget.train_subset,
            cache=cache,
            progress=None,
        )
        self.data = PreparedData.beside(self.folder, data, manifest)
        self._check(manifest)
        self.memory.put(data=json.loads(json.dumps(asdict(manifest))))
        counts = ", ".join(f"{name} {db.records:,}" for name, db in manifest.databases.items())
        self.display.line(f"    {data / manifest.folder}: {counts}")

    def search(self) -> None:
        """Run or resume the search."""
        experiment = self.experiment
        stages = experiment.q_learning.stages
        total = sum(stage.models for stage in stages)
        for trial in self.memory.trials():
            self.sampled += 1
            self.sampled_macs += self._macs(trial.architecture, Padding.SAME)
            self._count(trial)
        done = sum(trial.reward is not None for trial in self.memory.trials())
        self.display.line(
            f"Search: {total} models over ε {stages[0].epsilon:g} to {stages[-1].epsilon:g}, "
            f"{experiment.exploration.epochs} epochs of {experiment.train_images:,} images each"
            + (f"; {done} are trained already" if done else "")
        )
        show = self.display.trial_event
        with LocalExecutor(self.slots, lambda job, event: show(event)) as executor:
            trainer = ExplorationTrainer(experiment, self.data, self.folder, self.caffe, executor)
            rng = np.random.default_rng(experiment.seed)
            events = search(
                self.memory, self.agent, rng, stages, experiment.q_learning.replays, trainer
            )
            for event in events:
                self._show(event, total)
        if self.memory.pending():
            raise RunError("the search was stopped; the same command goes on from here")

    def _show(self, event: SearchEvent, total: int) -> None:
        match event:
            case Sampled(duplicate=True):
                self.again += 1
            case Sampled(sample, architecture):
                self.sampled += 1
                self.sampled_macs += self._macs(architecture, Padding.SAME)
                repeats = f" (after {self.again} samples of trained nets)" if self.again else ""
                self.again = 0
                self._head(sample.epsilon, architecture + repeats, total)
            case Resumed(trial):
                self._head(trial.epsilon, f"{trial.architecture}, resumed", total)
            case Trained(trial):
                self._count(trial)

    def _head(self, epsilon: float, what: str, total: int) -> None:
        trained = sum(self.memory.unique_per_epsilon().values())
        self.display.heading(
            f"[{trained + 1}/{total}] ε {epsilon:g} {what}", self._seconds_left(total - trained)
        )

    def _count(self, trial: Trial) -> None:
        if trial.result is not None:
            epochs = len(trial.result.accuracies) + trial.result.restarts
            processes = 2 + trial.result.restarts
            work = self._macs(trial.architecture, Padding.SAME) * epochs
            self.pace.add(processes, work * self.experiment.train_images, trial.result.seconds)

    def _macs(self, architecture: str, padding: Padding) -> int:
        return total_cost(parse(architecture), self.experiment.data.image, padding).macs

    def _seconds_left(self, models: int) -> float:
        """Estimate for the whole run; nets to come are taken for the average of those so far."""
        experiment = self.experiment
        mean = self.sampled_macs / self.sampled
        everything = experiment.data.train_images
        work = mean * models * experiment.exploration.epochs * experiment.train_images
        work += mean * everything * experiment.final.epochs
        for net in experiment.published:
            work += self._macs(net.net.notation, net.padding) * everything * net.epochs
        return self.pace.estimate(2 * models + 1 + len(experiment.published), work)

    def train_finals(self) -> list[str]:
        """Train the published nets and the search's best on all training images.

        Returns a line for each training that failed.
        """
        done = self.memory.finals()
        waiting = [
            _Final(net.id, net.net.notation, net, None)
            for net in self.experiment.published
            if net.id not in done
        ]
        best = best_trial(self.memory.trials())
        if best is None or best.result is None:
            self.display.line("Final training: no net of the search finished, none to train")
        elif BEST not in done:
            rate = best.result.learning_rate
            waiting.append(_Final(BEST, best.architecture, self.experiment.final, rate))
        failures = []
        while waiting:
            work = sum(self._final_work(final) for final in waiting)
            if failure := self._train_final(waiting.pop(0), work):
                failures.append(failure)
        return failures

    def _final_work(self, final: _Final) -> float:
        macs = self._macs(final.architecture, final.section.padding)
        return macs * self.experiment.data.train_images * final.section.epochs

    def _train_final(self, final: _Final, work_left: float) -> str | None:
        """Train one net; what can be tried again leaves no record, and a line that says so."""
        plan = final_plan(
            self.experiment, self.data, parse(final.architecture), final.section, final.rate
        )
        self.display.heading(
            f"Final training of {final.id}: {final.architecture}, {final.section.epochs} epochs "
            f"of all {self.experiment.data.train_images:,} images",
            self.pace.estimate(1, work_left),
        )
        folder = self.folder / "finals" / final.id.replace("/", "-")
        caffe = self.slots[0].caffe(self.caffe)
        result = run_trial(
            folder, self.folder, plan.net, plan.recipe, caffe, self.display.trial_event
        )
        if result.outcome is Outcome.STOPPED:
            raise RunError("the final training was stopped; the same command goes on from here")
        if result.outcome not in (Outcome.FINISHED, Outcome.DIVERGED):
            for name in ("result.json", "processes.jsonl"):
                (folder / name).unlink(missing_ok=True)
            return f"final training of {final.id} failed: {result.outcome} ({result.message})"
        self.memory.record_final(final.id, final.architecture, result)
        return None


@dataclass(frozen=True)
class _Final:
    """A final training: what to train, how, and the learning rate if the search found one."""

    id: str
    architecture: str
    section: FinalTraining
    rate: float | None
