"""The validated, frozen types of an experiment; its files carry the sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from data_prep.recipes import Labels, Recipe, SplitRule, SvhnSet
from prototxt_gen.dropout import DropoutRule
from prototxt_gen.net import Activation
from prototxt_gen.shapes import GapForm, Padding, Shape
from reproduce.paper import PublishedNet, published_net
from reproduce.published_files import FILE, net_of_file
from reproduce.search.agent import QLearning
from reproduce.search.costs import Cost
from reproduce.search.first_version import FirstVersionRules
from reproduce.search.loop import EpsilonStage
from reproduce.search.penalty import Penalty
from reproduce.search.space import SpaceRules
from reproduce.training.outcome import Outcome
from reproduce.training.rate_schedule import multistep
from reproduce.training.recipe import restart_rate

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Single = Annotated[float, Field(ge=2**-126, le=2**127)]
"""A positive number that Caffe's single precision holds."""
Momentum = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, le=2**127)]
Count = Annotated[int, Field(ge=0)]
Accuracy = Annotated[float, Field(ge=0, le=1)]


LARGEST_SEED = 2**31 - 1
"""Caffe's random_seed holds no more on every build."""


class ExperimentError(ValueError):
    """An experiment file is wrong; the message names the file and the field, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(_Model):
    """The data set, how it is prepared (see `data_prep.recipes.Recipe`) and how a net reads it.

    `centred` brings smaller or grey images to the shape `image`; `svhn` names one of SVHN's sets;
    `mean` and `scale` are what Caffe subtracts and multiplies.
    """

    dataset: Literal["mnist", "cifar10", "cifar100", "svhn"]
    classes: Positive
    image: tuple[Positive, Positive, Positive]
    centred: bool = False
    train_images: Positive
    test_images: Positive
    validation: Positive
    split: SplitRule
    svhn: SvhnSet | None = None
    labels: Labels | None = None
    normalize: tuple[str, ...]
    floats: bool
    mean: Literal["image", "none"]
    scale: Single

    @field_validator("image")
    @classmethod
    def _square(cls, image: Shape) -> Shape:
        _, height, width = image
        if height != width:
            raise ValueError(f"the spaces take square images, not {height}×{width}")
        return image

    @model_validator(mode="after")
    def _mean_of_original_pixels(self) -> Data:
        if self.mean == "image" and self.normalize:
            raise ValueError("mean: normalized images have no mean image; say none")
        return self

    def recipe(self, seed: int, subset: int | None) -> Recipe:
        """How the data set is prepared; `subset` is what a budget leaves of the training images.

        Raises:
            data_prep.errors.DataError: if the fields contradict each other.
        """
        own = self.svhn in ("extended", "tenth")
        return Recipe(
            seed=seed,
            validation=None if own else self.validation,
            split=self.split,
            subset=subset,
            svhn=self.svhn,
            labels=self.labels,
            normalize=self.normalize,
            shape=self.image if self.centred else None,
            floats=self.floats,
        )


class Table1Space(_Model):
    """The state-action space of Table 1; `reproduce.search.space.SpaceRules` tells the fields.

    `image` is the side of the image that the agent believes in, where it is not the data's.
    """

    family: Literal["table1"]
    depth: Positive
    filters: tuple[Positive, ...]
    sizes: tuple[Positive, ...]
    pools: tuple[tuple[Positive, Positive], ...]
    fully_connected: tuple[Positive, ...]
    max_fully_connected: Positive
    smaller_than_bin: bool
    pool_rounding: Literal["ceil", "floor"]
    initial_pooling: bool
    gap: Literal["termination", "layer"]
    gap_after_fc: bool
    fc_sees_bin: bool
    image: Positive | None = None

    def rules(self, data: Data) -> SpaceRules:
        """The space over a data set's images."""
        fields = self.model_dump(exclude={"family", "image"})
        return SpaceRules(image=self.image or data.image[1], classes=data.classes, **fields)


class FirstVersionSpace(_Model):
    """The first version's MNIST space; `reproduce.search.first_version` tells the fields."""

    family: Literal["first_version"]
    depth: Positive
    filters: tuple[Positive, ...]
    fully_connected: tuple[Positive, ...]
    smallest_halving: Positive

    def rules(self, data: Data) -> FirstVersionRules:
        """The space over a data set's images."""
        fields = self.model_dump(exclude={"family"})
        return FirstVersionRules(image=data.image[1], classes=data.classes, **fields)


class QLearningSection(_Model):
    """The agent's constants and its ε schedule, pairs of ε and number of distinct models.

    The replays of the ε values in `batched` are done together at the end of their stage, not
    after each model.
    """

    alpha: Annotated[float, Field(gt=0, le=1)]
    gamma: Accuracy
    initial: float
    replays: Positive
    batched: tuple[Accuracy, ...]
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
        if len(set(epsilons)) < len(epsilons):
            raise ValueError("schedule must name each ε once")
        return self


class Style(_Model):
    """What the notation leaves open about a net."""

    padding: Padding
    activation: Activation
    gap: GapForm
    dropout: DropoutRule


class Optimizer(_Model):
    """One training: solver, batch and learning-rate schedule, in epochs."""

    epochs: Positive
    timeout_hours: PositiveFloat | None = None
    batch: Positive
    test_batch: Positive
    solver: Literal["Adam", "SGD"]
    base_lr: Single
    momentum: Momentum
    momentum2: Momentum
    delta: Single
    weight_decay: Decay
    lr_gamma: Single
    lr_step_epochs: Positive


class Restarts(_Model):
    """What to do with a net that is no better than chance after its first epoch.

    `decimals`, where given, rounds the learning rates.
    """

    chance: Accuracy
    factor: PositiveFloat
    most: Annotated[int, Field(ge=0, le=1000)]
    decimals: Annotated[int, Field(ge=0, le=100)] | None = None


class RewardPenalty(_Model):
    """Takes weight · cost / per off the reward: the paper's suggestion for small or fast nets."""

    of: Literal["parameters", "macs", "seconds"]
    weight: PositiveFloat
    per: PositiveFloat

    @property
    def rule(self) -> Penalty:
        """The rule that the search applies."""
        return Penalty(self.of, self.weight, self.per)


class Exploration(Style, Optimizer):
    """How a sampled net is trained, and what the agent learns from it.

    `keep_models` is how many trained models stay on the disk: those of the highest rewards.
    """

    restarts: Restarts
    mirror: bool
    reward: Literal["best", "last"]
    penalty: RewardPenalty | None = None
    retries: Count
    keep_models: Count
    rewards: dict[Outcome, Accuracy | Literal["none"]]

    @model_validator(mode="after")
    def _learns_after_every_restart(self) -> Exploration:
        restarts = self.restarts
        for attempt in (0, restarts.most):
            rate = restart_rate(self.base_lr, restarts.factor, attempt, restarts.decimals)
            if not 2**-126 <= rate <= 2**127:
                raise ValueError(
                    f"restarts: factor {restarts.factor:g}, decimals {restarts.decimals} leave "
                    f"a learning rate of {rate:g} after {attempt} restarts"
                )
        return self

    @model_validator(mode="after")
    def _every_outcome_has_a_rule(self) -> Exploration:
        ruled = {Outcome.FINISHED, Outcome.STOPPED, *self.rewards}
        if missing := sorted(set(Outcome) - ruled):
            raise ValueError(f"rewards: no rule for {', '.join(missing)}")
        return self


class Iterations(_Model):
    """A published solver's schedule as its file has it, in iterations of one batch.

    `max_iter`, `test_interval`, `stepsize` and `stepvalues` are Caffe's; Caffe tests after the
    last iteration only where `test_interval` divides `max_iter`.
    """

    max_iter: Positive
    test_interval: Positive
    stepsize: Positive | None = None
    stepvalues: tuple[Positive, ...] = ()

    @model_validator(mode="after")
    def _caffe_can_keep_it(self) -> Iterations:
        if self.max_iter % self.test_interval:
            raise ValueError(f"test_interval must divide max_iter {self.max_iter}")
        if self.stepsize is not None and self.stepvalues:
            raise ValueError("it has a stepsize or stepvalues, not both")
        if list(self.stepvalues) != sorted(self.stepvalues):
            raise ValueError("stepvalues must ascend")
        return self


class FinalTraining(Style, Optimizer):
    """How a net is trained on all training data.

    `rates`, where given, are phases of (epochs, learning rate) that replace `base_lr`, `lr_gamma`
    and `lr_step_epochs`; over another number of epochs they keep their proportions. `iterations`,
    where given, replace `rates` and `lr_step_epochs`, and an epoch is what passes between two
    tests; again they keep their proportions. `dropout_ratios`, where given, are those of the
    layers that `dropout` places. `pad` is the
    border around the training images, of which Caffe cuts random windows; `svhn` another of SVHN's
    sets than the search's.
    """

    rates: tuple[tuple[Positive, Single], ...] = ()
    iterations: Iterations | None = None
    dropout_ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    mirror: bool = False
    pad: Count = 0
    svhn: SvhnSet | None = None

    def epoch_images(self, images: int) -> int:
        """What an epoch trains on, of so many images: of `iterations`, what lies between tests."""
        if self.iterations is not None:
            return self.batch * self.iterations.test_interval
        return images

    @model_validator(mode="after")
    def _rates_can_be_met(self) -> FinalTraining:
        if self.rates:
            multistep(self.rates)
        return self


class TopModels(FinalTraining):
    """How the best nets of the search are trained (section 5).

    `top` is how many, by validation accuracy; `ensembles` the sizes of the ensembles made of them.
    """

    top: Positive
    ensembles: tuple[Positive, ...] = ()


class NetFile(_Model):
    """A net prototxt that the user named: its name and SHA-256, and its layers to be trained."""

    name: str
    sha256: str
    prototxt: str


class Tuning(_Model):
    """The grid of hyperparameters among which each top model's are chosen.

    Each is tried by training on the training part for `epochs`; that of the highest validation
    accuracy is taken for the training on all images.
    """

    epochs: Positive
    weight_decay: Annotated[tuple[Decay, ...], Field(min_length=1)]
    dropout: Annotated[tuple[DropoutRule, ...], Field(min_length=1)]

    @property
    def grid(self) -> tuple[dict[str, float | DropoutRule], ...]:
        """What each point changes."""
        return tuple(
            {"weight_decay": decay, "dropout": rule}
            for decay in self.weight_decay
            for rule in self.dropout
        )


class Published(FinalTraining):
    """A net trained without a search: of the paper's tables, from its notation, or from `file`."""

    id: str
    file: NetFile | None = None

    @property
    def net(self) -> PublishedNet:
        """The table's row; of a file that is none of the authors', what it says itself."""
        if self.file is not None and self.id.startswith(FILE):
            return net_of_file(self.id, self.file.name, self.file.sha256, self.file.prototxt)
        return published_net(self.id)

    @model_validator(mode="after")
    def _exists(self) -> Published:
        try:
            _ = self.net
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        return self


class TransferTask(_Model):
    """Another data set for the best net; `epochs` keep the proportions of the rates' phases."""

    data: Data
    epochs: Positive
    test_batch: Positive
    mirror: bool


class Transfer(_Model):
    """How the best net is trained on other data sets (Table 5): as the top models are.

    From scratch and from its weights; these at rates times `fine_tuning_factor`.
    """

    fine_tuning_factor: PositiveFloat
    tasks: tuple[TransferTask, ...]

    @model_validator(mode="after")
    def _each_data_set_once(self) -> Transfer:
        names = [task.data.dataset for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError("tasks must name each data set once")
        return self


class Budget(_Model):
    """What a budget scales: counts, epochs, the training subset, the cap on a net's cost.

    An empty schedule leaves the search out; `published` are ids of nets of the paper's tables that
    are trained as the experiment's top models.

    Where `tune` is false the top models are trained as `final` says, whatever the grid.

    At most one cap: forward multiply-accumulates per image, parameters, or MiB of memory while
    training.
    """

    schedule: tuple[tuple[Accuracy, Positive], ...] | None = None
    exploration_epochs: Positive | None = None
    train_subset: Positive | None = None
    max_forward_macs: Positive | None = None
    max_parameters: Positive | None = None
    max_training_mib: Positive | None = None
    published: tuple[str, ...] = ()
    final_top: Positive | None = None
    final_epochs: Positive | None = None
    published_epochs: Positive | None = None
    transfer_epochs: Positive | None = None
    tune: bool = True

    @property
    def cap(self) -> tuple[Cost, int] | None:
        """What is capped, and the most of it; None without a cap."""
        caps: list[tuple[Cost, int | None]] = [
            ("macs", self.max_forward_macs),
            ("parameters", self.max_parameters),
            ("memory", self.max_training_mib and self.max_training_mib * 2**20),
        ]
        return next(((cost, most) for cost, most in caps if most), None)

    @model_validator(mode="after")
    def _one_cap(self) -> Budget:
        caps = (self.max_forward_macs, self.max_parameters, self.max_training_mib)
        if sum(cap is not None for cap in caps) > 1:
            raise ValueError("a budget caps one cost: MACs, parameters or memory")
        return self


class Experiment(_Model):
    """One experiment, as its file has it with a preset and a budget applied.

    `final` is None where the experiment ends with its search.
    """

    name: str
    title: str
    preset: Literal["paper", "released", "authors"]
    budget_name: str
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    data: Data
    space: Annotated[Table1Space | FirstVersionSpace, Field(discriminator="family")]
    q_learning: QLearningSection
    exploration: Exploration
    final: TopModels | None = None
    tuning: Tuning | None = None
    published: tuple[Published, ...] = ()
    transfer: Transfer | None = None
    budget: Budget
    unstated: dict[str, str]

    @property
    def grid(self) -> tuple[dict[str, float | DropoutRule], ...]:
        """What the points of the top models' grid change; none if they are not tuned.

        Only the paper tunes: the published solvers have their values.
        """
        tunes = self.preset == "paper" and self.budget.tune
        return self.tuning.grid if self.tuning is not None and tunes else ()

    @model_validator(mode="after")
    def _transfer_is_trained_as_the_top_models(self) -> Experiment:
        if self.transfer is not None:
            if self.final is None:
                raise ValueError("transfer: it trains as [final] says, and there is none")
            for task in self.transfer.tasks:
                name = task.data.dataset
                if task.data.image != self.data.image:
                    raise ValueError(f"transfer: the images of {name} have another shape")
        return self

    @model_validator(mode="after")
    def _no_mean_image_of_two_sizes(self) -> Experiment:
        sections = (*self.published, *([self.final] if self.final else []))
        if self.data.mean == "image" and any(section.pad for section in sections):
            raise ValueError(
                "final.pad: the net cannot subtract one mean image from padded and from plain "
                'images; normalize = ["mean"] subtracts it in the database'
            )
        return self

    def recipe_of(self, section: FinalTraining) -> Recipe | None:
        """How the data of a final training is prepared, where the search's does not serve."""
        data = self.data
        if not section.pad and section.svhn in (None, data.svhn):
            return None
        data = data.model_copy(update={"svhn": section.svhn or data.svhn})
        return replace(data.recipe(self.seed, None), pad=section.pad, parts=("train_full", "test"))

    @property
    def train_images(self) -> int:
        """Images of the training part that exploration uses."""
        rest = self.data.train_images - self.data.validation
        return min(rest, self.budget.train_subset or rest)


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
