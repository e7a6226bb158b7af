"""Experiment files: the paper's values, what a budget may change, and clear refusals."""

import copy
import dataclasses
import errno
import os
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.recipes import recipe
from prototxt_gen.notation import Convolution, FullyConnected, Pooling
from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, known_experiments, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError, validate
from reproduce.run import Owner, RunError, freeze, frozen, locked, owner
from reproduce.search.agent import Agent
from reproduce.search.cost_cap import CostCap
from reproduce.search.space import SearchSpace, SpaceRules

MNIST = experiment_path("mnist")


def load(budget: str) -> Experiment:
    return load_experiment(MNIST, budget, DEFAULT_SEED)


def test_the_paper_budget_is_the_papers() -> None:
    experiment = load("paper")
    assert sum(stage.models for stage in experiment.q_learning.stages) == 2700
    assert [stage.epsilon for stage in experiment.q_learning.stages] == [
        1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1,
    ]  # fmt: skip
    assert experiment.space.rules(experiment.data) == SpaceRules(depth=12, image=28)
    assert experiment.exploration.epochs == 20
    assert experiment.train_images == 55_000


def test_a_budget_scales_counts_epochs_images_and_cost_and_nothing_else() -> None:
    def scaled_away(experiment: Experiment) -> dict[str, object]:
        content = experiment.model_dump(exclude={"budget", "budget_name"})
        del content["q_learning"]["schedule"], content["final"]["top"]
        for section in (content["exploration"], content["final"], *content["published"]):
            del section["epochs"]
        return content

    assert scaled_away(load("quick")) == scaled_away(load("paper")) == scaled_away(load("smoke"))


def test_the_quick_budget_is_large_enough_to_mean_something() -> None:
    experiment = load("quick")
    assert sum(stage.models for stage in experiment.q_learning.stages) >= 12
    assert experiment.exploration.epochs >= 2
    assert experiment.train_images >= 5000


def test_the_quick_search_samples_a_net_of_every_layer_type() -> None:
    """Its nets at ε = 1 do not depend on rewards, so the default seed decides."""
    experiment = load("quick")
    space = SearchSpace(experiment.space.rules(experiment.data))
    cap = CostCap(space, 1, experiment.budget.max_forward_macs or 0)
    agent = Agent(space, experiment.q_learning.constants, cap)
    nets = set()
    rng = np.random.default_rng(DEFAULT_SEED)
    assert experiment.q_learning.stages[0].epsilon == 1
    # Replays draw from the same generator, so only the first net is certain.
    nets.add(agent.sample(rng, 1.0).architecture)
    wanted = (Convolution, Pooling, FullyConnected)
    assert any(all(any(isinstance(x, t) for x in net) for t in wanted) for net in nets)


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = MNIST.read_text()
    assert old in text
    path = tmp_path / "edited.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("depth = 12", "depth = 0", "depth: Input should be greater than 0"),
        ("depth = 12", "deep = 12", "space"),
        ("[final]", "[q_learning]\nalpha = 'low'\n[final]", "q_learning.alpha: Input should be"),
        ("[final]", "[q_learner]\nalpha = 1\n[final]", "q_learner: Extra inputs are not"),
        ('id = "mnist/v1-3"', 'id = "mnist/v1-9"', "no published net 'mnist/v1-9'"),
        ("[final]", "[q_learning]\nschedule = [[1.0, 2], [1.0, 1]]\n[final]", "name each ε once"),
        ('"data.scale"', '"data.scales"', "unstated names 'data.scales'"),
        ("[budget.paper]", "[budget.paper]\nmax_parameters = 1\nmax_forward_macs = 1", "one cost"),
        ("[data]", "[data", "at line"),
        ("[data]", f"digits = {'9' * 5000}\n[data]", "limit"),
        ('name = "mnist"', 'name = "mnist"\nseed = 3', "seed: it is chosen where the run is star"),
        ('name = "mnist"', 'name = "mnist"\nextends = "x"', "extends: Extra inputs are not"),
        ('name = "mnist"', 'name = "mnist"\npresets = 3', "presets: must be a list of some of pap"),
        ('name = "mnist"', 'name = "mnist"\npresets = [[]]', "presets: must be a list of some of"),
        ('name = "mnist"', 'name = "mnist"\n"a\\nb" = 3', "a b: Extra inputs are not permitted"),
        ("[preset.released.data]", "[preset.theirs]", "preset.theirs: it is none of paper, rel"),
        ("[budget.paper]", "[budget]\nthird = 3\n[budget.paper]", "budget.third: must be a table"),
        ("scale = 0.00390625", "scale = nan", "data.scale: Input should be a finite number"),
        ("scale = 0.00390625", "scale = 1e-50", "data.scale: Input should be greater than or"),
        ("image = [1, 28, 28]", "image = [1, 28, 30]", "data.image: Value error, the spaces take"),
        ("image = [1, 28, 28]", "image = [1, -28, -28]", "data.image.1: Input should be greater"),
        ("[final]", "[q_learning]\nalpha = nan\n[final]", "q_learning.alpha: Input should be"),
        ("[final]", "[q_learning]\ngamma = 1.5\n[final]", "q_learning.gamma: Input should be le"),
        ("momentum = 0.9", "momentum = 1", "final.momentum: Input should be less than 1"),
        ("momentum2 = 0.999", "momentum2 = 2", "final.momentum2: Input should be less than 1"),
        ("delta = 1e-8", "delta = -1", "final.delta: Input should be greater than"),
        ("weight_decay = 0.0", "weight_decay = -1", "final.weight_decay: Input should be gre"),
        *(
            ("[final]", f"[exploration.restarts]\n{key} = {value}\n[final]", words)
            for key, value, words in (
                ("decimals", 0, "exploration: Value error, restarts: factor 0.4, decimals 0 leave"),
                ("decimals", 10**12, "exploration.restarts.decimals: Input should be less"),
                ("factor", 1e300, "a learning rate of inf after 5 restarts"),
                ("factor", 1e-30, "a learning rate of 1e-153 after 5 restarts"),
            )
        ),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_field(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, "paper", 0)
    assert words in str(caught.value)
    assert "edited.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("budget = 3", "budget: must be a table"),
        ("budget = {paper = 3}", "budget.paper: must be a table"),
        ("preset = 3", "preset: must be a table"),
        ("preset = {paper = 3}", "preset.paper: must be a table"),
        ("preset = {paper = {unstated = [1]}}", "unstated: must be a table"),
        ("published = 3", "published: Input should be a valid tuple"),
        ("published = [3]", "published.0: Input should be a valid dictionary"),
        ("unstated = 'nothing'", "unstated: must be a table"),
    ],
)
def test_a_table_of_another_type_is_refused(tmp_path: Path, line: str, words: str) -> None:
    content = tomllib.loads(MNIST.read_text()) | tomllib.loads(line)
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(content))
    budget = "paper" if line.startswith("budget") else "quick"
    with pytest.raises(ExperimentError, match=rf"mine\.toml: {words}"):
        load_experiment(path, budget, 0)


def whole() -> dict[str, Any]:
    """An experiment file that sets all that it can."""
    content = tomllib.loads(MNIST.read_text())
    everything = load("quick").model_dump(mode="json", exclude_none=True)
    for section in ("data", "space", "q_learning", "exploration"):
        content[section] = everything[section]
    content["exploration"]["restarts"]["decimals"] = 6
    content["exploration"]["penalty"] = {"of": "macs", "weight": 0.1, "per": 1e6}
    content["data"] |= {"svhn": "original", "labels": "zero"}
    content["space"]["image"] = 28
    content["presets"] = ["paper", "released", "authors"]
    content["preset"]["paper"] = {"unstated": {"data.mean": "not mentioned"}}
    return content


WHOLE = whole()


def places(table: dict[str, Any] | list[Any]) -> Iterator[tuple[str | int, ...]]:
    for key, value in table.items() if isinstance(table, dict) else enumerate(table):
        yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *rest) for rest in places(value))


SCALARS = (
    st.booleans()
    | st.integers()
    | st.sampled_from([10**400, 2**31, -1, 0])
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["paper", "none", "mnist", "Adam", "data.scale"])
    | st.dates()
    | st.datetimes()
    | st.times()
)
NAMES = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["paper", "quick", "unstated", "family", "schedule", "published", "epochs", "data.scale"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


PLACES = list(places(WHOLE))


@settings(max_examples=150, deadline=None)
@given(
    place=st.sampled_from([place for place in PLACES if len(place) == 1])
    | st.sampled_from([place for place in PLACES if len(place) == 2])
    | st.sampled_from(PLACES),
    value=VALUES,
    preset=st.sampled_from(["paper", "released", "authors"]),
)
def test_any_value_anywhere_gives_an_experiment_or_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    place: tuple[str | int, ...],
    value: object,
    preset: str,
) -> None:
    """What is accepted can be frozen and read back."""
    folder = tmp_path_factory.mktemp("any")
    content: Any = copy.deepcopy(WHOLE)
    *outer, last = place
    table = content
    for key in outer:
        table = table[key]
    table[last] = value
    path = folder / "mine.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    try:
        experiment = load_experiment(path, "quick", 1, preset)
    except ExperimentError as error:
        said = str(error)
    else:
        freeze(experiment, folder / "run")
        assert frozen(folder / "run") == experiment
        return
    assert said.startswith(f"{path}: ")
    assert len(said.splitlines()) == 1


def test_an_unknown_name_lists_the_known_ones() -> None:
    there = "paper, top-models, quick, small, smoke"
    with pytest.raises(ExperimentError, match=f"no budget 'huge'; there are: {there}"):
        load_experiment(MNIST, "huge", 0)
    with pytest.raises(ExperimentError, match="no preset 'theirs'; there are: paper, released, au"):
        load_experiment(MNIST, "quick", 0, "theirs")
    with pytest.raises(ExperimentError, match="no preset 'released'; there are: paper"):
        load_experiment(experiment_path("mnist-v1"), "quick", 0, "released")
    with pytest.raises(ExperimentError, match="there are: cifar10, mnist, mnist-v1, svhn"):
        experiment_path("presets")


def test_every_outcome_needs_a_rule(tmp_path: Path) -> None:
    content = load("quick").model_dump(mode="json", exclude_none=True)
    del content["exploration"]["rewards"]["out_of_memory"]
    with pytest.raises(ExperimentError, match="no rule for out_of_memory"):
        validate(content, tmp_path / "mine.toml")


def presets(name: str) -> list[str]:
    fewer = {"mnist-v1": ["paper"], "svhn-small": ["paper", "released"]}
    return fewer.get(name, ["paper", "released", "authors"])


@pytest.mark.parametrize("name", known_experiments())
def test_every_experiment_loads_with_every_preset_and_budget(name: str) -> None:
    for preset in presets(name):
        for budget in ("paper", "quick"):
            experiment = load_experiment(experiment_path(name), budget, 1, preset)
            assert (experiment.preset, experiment.budget_name) == (preset, budget)
            SearchSpace(experiment.space.rules(experiment.data))


def test_the_presets_differ_where_their_sources_do() -> None:
    """The figures are those of section B5 of the comparison of code, paper and runs."""
    paper, released, authors = (
        load_experiment(experiment_path("svhn"), "paper", 1, preset)
        for preset in ("paper", "released", "authors")
    )
    assert [e.q_learning.replays for e in (paper, released, authors)] == [100, 128, 128]
    chances = [e.exploration.restarts.chance for e in (paper, released, authors)]
    assert chances == [0.1, 0.15, 0.27]
    assert [e.exploration.restarts.most for e in (paper, released, authors)] == [5, 4, 4]
    assert [e.exploration.weight_decay for e in (paper, released, authors)] == [0, 5e-4, 5e-4]
    assert [e.space.rules(e.data).image for e in (paper, released, authors)] == [32, 28, 32]
    assert authors.q_learning.batched == (1.0, 0.9, 0.8)
    assert not released.q_learning.batched
    mirrored = load_experiment(experiment_path("cifar10"), "paper", 1, "authors")
    assert mirrored.exploration.mirror


def test_a_value_that_a_later_source_sets_loses_the_mark_unstated(tmp_path: Path) -> None:
    assert "exploration.weight_decay" in load("quick").unstated
    released = load_experiment(MNIST, "quick", 1, "released")
    assert "exploration.weight_decay" not in released.unstated
    assert "exploration.retries" in released.unstated
    mine = edited(tmp_path, "[final]", "[exploration]\nweight_decay = 0.1\n[final]")
    assert "exploration.weight_decay" not in load_experiment(mine, "quick", 1).unstated


def test_a_frozen_experiment_is_read_back_and_kept_from_change(tmp_path: Path) -> None:
    experiment = load("quick")
    freeze(experiment, tmp_path)
    freeze(experiment, tmp_path)
    assert frozen(tmp_path) == experiment
    with pytest.raises(RunError, match="holds another experiment"):
        freeze(load_experiment(MNIST, "quick", 99), tmp_path)
    with pytest.raises(RunError, match="holds no run"):
        frozen(tmp_path / "elsewhere")


NO_SPACE = r"run cannot hold a run: No space left on device: free some and give the same command"


@pytest.mark.parametrize("call", ["mkdir", "ftruncate", "write", "fsync"])
def test_a_full_disk_at_the_start_is_told_with_folder_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """What fails for lack of space has no file name in its own message, mkdir aside."""

    def full(*args: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        if call in ("mkdir", "fsync"):
            with pytest.raises(RunError, match=NO_SPACE):
                freeze(load("quick"), folder)
        if call != "fsync":
            with pytest.raises(RunError, match=NO_SPACE), locked(folder):
                pass
    with locked(folder):  # nothing of the failure is left
        freeze(load("quick"), folder)
    assert frozen(folder) == load("quick")


def test_a_folder_that_cannot_be_made_asks_for_another(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder, said = tmp_path / "file" / "run", "run cannot hold a run: Not a .*: name another folder"
    with pytest.raises(RunError, match=said):
        freeze(load("quick"), folder)
    with pytest.raises(RunError, match=said), locked(folder):
        pass


def test_a_second_driver_is_refused_by_name(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    with (
        locked(tmp_path),
        pytest.raises(RunError, match=r"is being run by process \d+ on "),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):  # free again
        assert owner(tmp_path) == Owner(os.getpid(), socket.gethostname())
    assert owner(tmp_path) is None


@pytest.mark.parametrize("preset", ["paper", "released", "authors"])
@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_an_experiment_prepares_its_data_as_data_prep_alone_does(name: Any, preset: Any) -> None:
    experiment = load_experiment(experiment_path(name), "paper", DEFAULT_SEED, preset)
    data = experiment.data
    alone = recipe(name, preset)
    assert data.recipe(DEFAULT_SEED, None) == dataclasses.replace(alone, seed=DEFAULT_SEED)
    assert (data.mean == "image") == (not alone.normalize)
