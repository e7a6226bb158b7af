"""One run under way: data, the check of its trainer, the search; the one writer of its record."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.datasets import DataSet, locate
from data_prep.manifest import Manifest
from data_prep.prepare import prepare
from data_prep.recipes import Dataset, Recipe
from reproduce.display import Display
from reproduce.experiments.schema import Data, Experiment, FinalTraining
from reproduce.kept_models import KeptModels
from reproduce.nets import PreparedData
from reproduce.options import Options
from reproduce.pace import RunPace
from reproduce.run import RunError, provenance
from reproduce.search.agent import Agent
from reproduce.search.cost_cap import CostCap, CostCapError
from reproduce.search.loop import (
    NoNewNetError,
    Resumed,
    Sampled,
    SearchEvent,
    Stopped,
    Trained,
    Trainer,
    models_done,
    search,
)
from reproduce.search.replay_memory import ReplayMemory
from reproduce.search.space import SearchSpace
from reproduce.trainer import ExplorationTrainer
from reproduce.training.caffe import Caffe, is_predicted
from reproduce.training.executors import ClosingExecutor, Job, LocalExecutor, local_slots
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.trial import TrialEvent


def agent_of(experiment: Experiment) -> Agent:
    """The experiment's agent, over its space and below its cost cap.

    Raises:
        CostCapError: if the cap leaves no net.
    """
    space = SearchSpace(experiment.space.rules(experiment.data))
    cap, training = None, experiment.exploration
    if experiment.budget.cap is not None:
        cost, most = experiment.budget.cap
        channels, side, _ = experiment.data.image
        cap = CostCap(
            space,
            channels,
            most,
            of=cost,
            image=side,
            gap=training.gap,
            dropout=training.dropout,
            batch=training.batch,
        )
    return Agent(space, experiment.q_learning.constants, cap)


def kept_by_cap(experiment: Experiment, agent: Agent) -> dict[str, float | str] | None:
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
    cap = agent.cap
    return {"of": cap.of, "at_most": cap.at_most, "low": low, "high": high, "architectures": total}


def compare(said: Data, manifest: Manifest) -> None:
    """Find that prepared data is what an experiment says.

    Raises:
        RunError: naming the field and both values.
    """
    found = {name: database.records for name, database in manifest.databases.items()}
    for what, one, other in (
        ("image", said.image, manifest.shape),
        ("classes", said.classes, manifest.classes),
        ("train_images", said.train_images, found["train_full"]),
        ("test_images", said.test_images, found["test"]),
    ):
        if one != other:
            raise RunError(f"the experiment says data.{what} {one}, the data has {other}")


class Driver:
    """One run under way."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        memory: ReplayMemory,
        caffe: Caffe,
        options: Options,
        display: Display,
        agent: Agent,
    ) -> None:
        self.experiment, self.folder, self.memory = experiment, folder, memory
        self.caffe, self.options, self.display, self.agent = caffe, options, display, agent
        self.pace = RunPace(experiment)
        self.user_files: Path | None = None
        self.located: dict[tuple[str, Recipe], DataSet] = {}
        self.others: dict[tuple[str, Recipe], PreparedData] = {}
        self.again = 0  # samples of trained nets since the last new one
        self._predicts = False

    def announce(self, kept: dict[str, float | str] | None, *, keep_options: bool = True) -> None:
        """Say what is about to run, and keep it with the run.

        A run that goes on elsewhere names all its devices; `kept` is what the cost cap keeps.
        """
        experiment, memory, options = self.experiment, self.memory, self.options
        trainer, device = f"{self.caffe} ({self.caffe.kind})", options.device
        earlier = memory.get("trainer")
        if earlier is None:
            if is_predicted(trainer) and memory.trials():
                raise RunError(
                    f"{self.folder} holds rewards of trained nets, which do not mix with predicted "
                    "ones: name another run with RUN=..."
                )
            memory.put(
                trainer=trainer,
                device=device,
                provenance=provenance(experiment, trainer, device),
                cost_cap=kept,
            )
        elif earlier != trainer or (is_predicted(trainer) and self._begun_by != options.trainer):
            raise self._another(earlier, trainer)
        elif device not in (devices := memory.get("device")).split(", then "):
            memory.put(device=f"{devices}, then {device}")
        if keep_options:
            memory.put(options=options.to_json())
        say = self.display.line
        say(
            f"MetaQNN on {experiment.title}: preset {experiment.preset}, "
            f"budget {experiment.budget_name}, seed {experiment.seed}"
        )
        say(f"Trainer: {trainer}, on {device}")
        if self.caffe.warning:
            say(f"    {self.caffe.warning}")
        say(f"Run: {self.folder}")

    @property
    def _begun_by(self) -> str:
        """The trainer that the run's last start chose; this one's before there is any."""
        stored = self.memory.get("options")
        return self.options.trainer if stored is None else str(stored.get("trainer", "caffe"))

    def _another(self, earlier: str, trainer: str) -> RunError:
        if is_predicted(earlier) or is_predicted(trainer):
            began, now = (f" with --trainer {x}" for x in (self._begun_by, self.options.trainer))
            return RunError(
                f"{self.folder} was begun by {earlier}{began}, not by {trainer}{now}: their "
                f"rewards do not mix; `metaqnn resume {self.folder}` goes on with the former, or "
                "name another run with RUN=..."
            )
        return RunError(
            f"{self.folder} was trained by {earlier}, not by {trainer}: "
            "name that one with CAFFE=..., or another run with RUN=..."
        )

    def prepare(self, user_files: str | None) -> None:
        """Prepare the data set, unless it is there.

        Raises:
            DataError: if it cannot be had or prepared.
            RunError: if it is not what the experiment says.
        """
        experiment, data = self.experiment, self.options.data
        said = experiment.data
        self.display.line("Data:")
        self.user_files = Path(user_files) if user_files else None
        manifest = self._prepared(
            said.dataset, said.recipe(experiment.seed, experiment.budget.train_subset)
        )
        self.data = PreparedData.beside(self.folder, data, manifest)
        compare(said, manifest)
        self.memory.put(data=manifest.to_json())

    def locate(self, recipe: Recipe, dataset: Dataset | None = None) -> DataSet:
        """The files of a data set, the experiment's own or another, that a recipe reads.

        None is fetched yet.

        Raises:
            DataError: if the user's folder lacks one.
        """
        name = dataset or self.experiment.data.dataset
        if (name, recipe) not in self.located:  # the user's files are hashed
            self.located[name, recipe] = locate(
                name,
                recipe,
                data_dir=self.user_files,
                cache=self.options.cache,
                progress=self.display.data_step,
            )
        return self.located[name, recipe]

    def _prepared(self, dataset: Dataset, recipe: Recipe) -> Manifest:
        """A data set by a recipe; prepared unless it is there."""
        files = self.locate(recipe, dataset)
        manifest = prepare(files, recipe, self.options.data, progress=self.display.data_step)
        counts = ", ".join(f"{name} {db.records:,}" for name, db in manifest.databases.items())
        self.display.line(f"    {self.options.data / manifest.folder}: {counts}")
        return manifest

    def data_of(self, section: FinalTraining) -> PreparedData:
        """The data of a final training: the search's, or another preparation of it.

        Raises:
            DataError: if it cannot be had or prepared.
        """
        recipe = self.experiment.recipe_of(section)
        if recipe is None:
            return self.data
        data = self.prepared("Data of the final trainings:", self.experiment.data.dataset, recipe)
        self.memory.put(final_data=data.manifest.to_json())
        return data

    def tuning_data(self, section: FinalTraining) -> PreparedData:
        """The training and validation parts, prepared as a final training's images are.

        Raises:
            DataError: if they cannot be had or prepared.
        """
        recipe = self.experiment.recipe_of(section)
        if recipe is None:
            return self.data
        recipe = replace(recipe, parts=("train", "val"))
        return self.prepared("Data of the tuning:", self.experiment.data.dataset, recipe)

    def prepared(self, heading: str, dataset: Dataset, recipe: Recipe) -> PreparedData:
        """A data set by a recipe, as seen from the run's folder; prepared unless it is there.

        Raises:
            DataError: if it cannot be had or prepared.
        """
        if (dataset, recipe) not in self.others:
            self.display.line(heading)
            manifest = self._prepared(dataset, recipe)
            others = PreparedData.beside(self.folder, self.options.data, manifest)
            self.others[dataset, recipe] = others
        return self.others[dataset, recipe]

    def search(self, predictor: Trainer | None = None) -> None:
        """Run or resume the search, its nets trained or, by a predictor, not.

        Raises:
            RunError: if it was stopped before its end, or finds no more nets.
        """
        experiment, agent = self.experiment, self.agent
        stages = experiment.q_learning.stages
        total = sum(stage.models for stage in stages)
        trials = self.memory.trials()
        for trial in trials:
            self.pace.sampled(trial.architecture)
            self.pace.trained(trial)
        keep = experiment.exploration.keep_models
        self.models = KeptModels(self.folder, keep, trials)
        done = models_done(stages, self.memory.unique_per_epsilon())
        self._predicts = predictor is not None
        each = f"{experiment.exploration.epochs} epochs of {experiment.train_images:,} images each"
        self.display.line(
            f"Search: {total} models over ε {stages[0].epsilon:g} to {stages[-1].epsilon:g}, "
            f"{'predicted, not trained' if self._predicts else each}"
            + (f"; {done} are {'there' if self._predicts else 'trained'} already" if done else "")
        )
        with ExitStack() as stack:
            trainer = predictor or ExplorationTrainer(
                *(experiment, agent.space, self.data, self.folder, self.caffe),
                stack.enter_context(self.executor()),
            )
            self.pace.slots = trainer.slots
            self.memory.put(slots=trainer.slots)
            events = search(
                self.memory,
                agent,
                np.random.default_rng(experiment.seed),
                stages,
                experiment.q_learning.replays,
                trainer,
                batched=frozenset(experiment.q_learning.batched),
            )
            try:
                for event in events:
                    self._show(event, total)
            except NoNewNetError as error:
                raise RunError(f"{self.folder}: {error}") from None

    def executor(self, data: PreparedData | None = None) -> ClosingExecutor:
        """What runs the trials, on the search's data or other; Ray is imported where asked for."""
        options = self.options
        if options.executor == "ray":
            from reproduce.training.ray_executor import RayExecutor

            return RayExecutor(
                gpus=options.gpus_per_trial,
                cpus=options.cpus_per_trial,
                address=options.ray_address,
                data=options.data / (data or self.data).manifest.folder,
                on_event=self._trial_event,
            )
        slots = local_slots(options.gpus, options.slots_per_gpu, options.cpu_slots, options.threads)
        return LocalExecutor(slots, self._trial_event)

    def _trial_event(self, job: Job, event: TrialEvent) -> None:
        several = self.pace.slots > 1
        self.display.trial_event(event, f"{job.folder.name} " if several else "")

    def _show(self, event: SearchEvent, total: int) -> None:
        match event:
            case Sampled(duplicate=True):
                self.again += 1
            case Sampled(sample, architecture):
                self.pace.sampled(architecture)
                repeats = f" (after {self.again} samples of trained nets)" if self.again else ""
                self.again = 0
                self._head(sample.trial, sample.epsilon, architecture + repeats, total)
            case Resumed(trial):
                self._head(trial.id, trial.epsilon, f"{trial.architecture}, resumed", total)
            case Stopped(_, result):
                raise RunError(f"{result.message}; the same command goes on from here")
            case Trained(trial):
                self.pace.trained(trial)
                self.models.trained(trial)
                if self._predicts and trial.result is not None:
                    self.display.line(f"    {_predicted(trial.result)}")

    def _head(self, trial: int, epsilon: float, what: str, total: int) -> None:
        """Say what starts: the n-th of the models that the schedule wants.

        Models in training beside it count as trained; those beyond a stage's number do not count.
        """
        stages = self.experiment.q_learning.stages
        counts = Counter(self.memory.unique_per_epsilon())
        left = self.pace.seconds_left(total - models_done(stages, counts), self.options.finals)
        under_way = {sample.trial: sample.epsilon for sample in reversed(self.memory.pending())}
        counts.update(at for id_, at in under_way.items() if id_ <= trial)
        self.display.heading(f"[{models_done(stages, counts)}/{total}] ε {epsilon:g} {what}", left)


def _predicted(result: TrialResult) -> str:
    """What was predicted of a net, and whether it is no more than a guess."""
    said = f"predicted: accuracy {result.best_accuracy or 0:.4f}"
    if result.outcome is not Outcome.FINISHED:
        said = "predicted: does not learn"
    return f"{said}; a guess, {result.message}" if result.message else said
