"""The validated, frozen types of an experiment file; the files carry the sources."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prototxt_gen.dropout import DropoutRule
from prototxt_gen.net import Activation
from prototxt_gen.shapes import Padding, Shape
from reproduce.paper import PublishedNet, published_net
from reproduce.search.agent import QLearning
from reproduce.search.loop import EpsilonStage
from reproduce.search.space import SpaceRules
from reproduce.training.outcome import Outcome

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Accuracy = Annotated[float, Field(ge=0, le=1)]


LARGEST_SEED = 2**31 - 1
"""Caffe's random_seed holds no more on every build."""


class ExperimentError(ValueError):
    """An experiment file is wrong; the message names the file and the field."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Model):
    """The data set and how its images reach a net."""

    dataset: Literal["mnist"]
    classes: Positive
    image: Shape
    train_images: Positive
    test_images: Positive
    validation: Positive
    mean: Literal["image", "none"]
    scale: float


class Space(_Model):
    """The state-action space, Table 1."""

    depth: Positive
    filters: tuple[Positive, ...]
    sizes: tuple[Positive, ...]
    pools: tuple[tuple[Positive, Positive], ...]
    fully_connected: tuple[Positive, ...]
    max_fully_connected: Positive
    initial_pooling: bool
    gap_after_fc: bool

    def rules(self, data: Data) -> SpaceRules:
        """The space over a data set's images."""
        return SpaceRules(image=data.image[1], classes=data.classes, **self.model_dump())


class QLearningSection(_Model):
    """The agent's constants and its ε schedule, pairs of ε and number of distinct models."""

    alpha: float
    gamma: float
    initial: float
    replays: Positive
    schedule: tuple[tuple[Accuracy, Positive], ...]

    @property
    def constants(self) -> QLearning:
        """The update's constants."""
        return QLearning(self.alpha, self.gamma, self.initial)

    @property
    def stages(self) -> tuple[EpsilonStage, ...]:
        """The ε schedule."""
        return tuple(EpsilonStage(epsilon, models) for epsilon, models in self.schedule)

    @model_validator(mode="after")
    def _each_epsilon_once(self) -> QLearningSection:
        epsilons = [epsilon for epsilon, _ in self.schedule]
        if not epsilons or len(set(epsilons)) < len(epsilons):
            raise ValueError("schedule must name each ε once")
        return self


class Style(_Model):
    """What the notation leaves open about a net."""

    padding: Padding
    activation: Activation
    dropout: DropoutRule


class Optimizer(_Model):
    """One training: solver, batch and learning-rate schedule, in epochs."""

    epochs: Positive
    timeout_hours: PositiveFloat | None = None
    batch: Positive
    test_batch: Positive
    solver: Literal["Adam", "SGD"]
    base_lr: PositiveFloat
    momentum: float
    momentum2: float
    delta: float
    weight_decay: float
    lr_gamma: float
    lr_step_epochs: Positive


class Restarts(_Model):
    """What to do with a net that is no better than chance after its first epoch."""

    chance: Accuracy
    factor: PositiveFloat
    most: Annotated[int, Field(ge=0)]


class Exploration(Style, Optimizer):
    """How a sampled net is trained, and what the agent learns from it."""

    restarts: Restarts
    reward: Literal["best", "last"]
    retries: Annotated[int, Field(ge=0)]
    rewards: dict[Outcome, Accuracy | Literal["none"]]

    @model_validator(mode="after")
    def _every_outcome_has_a_rule(self) -> Exploration:
        ruled = {Outcome.FINISHED, Outcome.STOPPED, *self.rewards}
        if missing := sorted(set(Outcome) - ruled):
            raise ValueError(f"rewards: no rule for {', '.join(missing)}")
        return self


class FinalTraining(Style, Optimizer):
    """How a net is trained on all training data."""


class Published(FinalTraining):
    """A net of the paper's tables, trained from its notation without a search."""

    id: str

    @property
    def net(self) -> PublishedNet:
        """The table's row."""
        return published_net(self.id)

    @model_validator(mode="after")
    def _exists(self) -> Published:
        try:
            published_net(self.id)
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        return self


class Budget(_Model):
    """What a budget scales: counts, epochs, the training subset, the cap on a net's cost."""

    schedule: tuple[tuple[Accuracy, Positive], ...] | None = None
    exploration_epochs: Positive | None = None
    train_subset: Positive | None = None
    max_forward_macs: Positive | None = None
    final_epochs: Positive | None = None
    published_epochs: Positive | None = None


class Experiment(_Model):
    """One experiment, as its file has it with a budget applied."""

    name: str
    title: str
    preset: Literal["paper"]
    budget_name: str
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    data: Data
    space: Space
    q_learning: QLearningSection
    exploration: Exploration
    final: FinalTraining
    published: tuple[Published, ...]
    budget: Budget
    unstated: dict[str, str]

    @property
    def train_images(self) -> int:
        """Images of the training part that exploration uses."""
        rest = self.data.train_images - self.data.validation
        return min(rest, self.budget.train_subset or rest)


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExperimentError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: {error}") from None


def _check_unstated(content: dict[str, Any], path: Path) -> None:
    for field in content.get("unstated", {}):
        value: Any = content
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            raise ExperimentError(f"{path}: unstated names {field!r}, which the file does not set")


def load_experiment(path: Path, budget: str, seed: int) -> Experiment:
    """Read an experiment file and apply one of its budgets.

    Raises:
        ExperimentError: naming the file, the field and what is wrong with it.
    """
    content = _load(path)
    known = content.pop("budget", {})
    if budget not in known:
        names = ", ".join(known) or "none"
        raise ExperimentError(f"{path}: no budget {budget!r}; there are: {names}")
    _check_unstated(content, path)
    scaled = known[budget]
    for section, field, name in (
        ("q_learning", "schedule", "schedule"),
        ("exploration", "epochs", "exploration_epochs"),
        ("final", "epochs", "final_epochs"),
    ):
        if name in scaled and isinstance(content.get(section), dict):
            content[section][field] = scaled[name]
    for net in content.get("published", []):
        if "published_epochs" in scaled:
            net["epochs"] = scaled["published_epochs"]
    return validate({**content, "budget": scaled, "budget_name": budget, "seed": seed}, path)


def validate(content: dict[str, Any], path: Path) -> Experiment:
    """Validate a whole experiment.

    Raises:
        ExperimentError: naming the file, the first wrong field and what is wrong with it.
    """
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ExperimentError(f"{path}: {where}: {first['msg']}") from None
