"""`metaqnn search --trainer surrogate`: a whole search without images and without a Caffe."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from prototxt_gen.notation import parse
from reproduce.audit import measured
from reproduce.audit.audit import audited
from reproduce.audit.authors_data import files
from reproduce.audit.authors_data.files import read_authors_data
from reproduce.audit.claims import claim_named
from reproduce.audit.context import Context
from reproduce.audit.findings import Verdict
from reproduce.commands.tables import tables_of
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.options import Options
from reproduce.results.report import notes
from reproduce.results.searches import read_search
from reproduce.results.stability import read_stability
from reproduce.rivals.surrogate.choice import data_set_of, surrogate_name
from reproduce.rivals.surrogate.data import training_data
from reproduce.rivals.surrogate.surrogate import Surrogate
from reproduce.run import RunError, freeze
from reproduce.search.replay_memory import ReplayMemory, read_replay_memory
from tests.reproduce.commands.conftest import Said, metaqnn
from tests.reproduce.results.measured_runs import measured_run
from tests.reproduce.whole_run import METAQNN, REPOSITORY

SEED = 5


@dataclass(frozen=True)
class Searching:
    """The words of a search, and its run."""

    experiment: Path
    authors: Path
    run: Path

    @property
    def words(self) -> list[str]:
        words = ["search", self.experiment, "--seed", SEED, "--run", self.run]
        return list(map(str, [*words, "--trainer", "surrogate", "--authors-data", self.authors]))

    def __call__(self, *more: object) -> Said:
        return metaqnn(*self.words, *more)

    def record(self) -> tuple[object, ...]:
        with read_replay_memory(self.run / "replay.sqlite") as memory:
            state = memory.get("random_state")
            return memory.trials(), memory.samples(), memory.q_values(), state


def experiment_file(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """An experiment of the package with changes; budget `quick` without its cap on a net's cost."""
    text = experiment_path(name).read_text()
    for old, new in (("max_forward_macs = 30_000_000\n", ""), *changes):
        assert old in text, old
        text = text.replace(old, new)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="session")
def finished(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Searching:
    """A complete search of SVHN."""
    folder = tmp_path_factory.mktemp("searched")
    searching = Searching(experiment_file(folder, "svhn"), slice_folder, folder / "run")
    said = searching()
    assert said.code == 0, said
    (folder / "said").write_text(said.out)
    return searching


@pytest.fixture(autouse=True)
def without_caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Caffe can be found, and no data."""
    monkeypatch.setenv("CAFFE", "no-such-caffe")
    monkeypatch.setenv("DATA_DIR", "/no/such/folder")


# A search


def test_each_nets_reward_is_the_one_of_the_surrogate_fitted_by_the_runs_seed(
    finished: Searching, slice_folder: Path
) -> None:
    data = training_data(read_authors_data(slice_folder), "svhn")
    surrogate = Surrogate.fit(data, SEED)
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        trials = memory.trials()
    assert len(trials) == 13
    for trial in trials:
        curve = surrogate.curve(parse(trial.architecture))
        assert trial.reward == (curve.best if curve.learned else 0.1)
        assert trial.result is not None
        assert trial.result.trainer == surrogate_name("svhn", SEED)
        flagged = trial.result.message.startswith("outside the surrogate's range: ")
        assert flagged == (not curve.in_range)


def test_a_failure_share_of_one_leaves_every_net_at_chance(
    finished: Searching, tmp_path: Path
) -> None:
    searching = replace(finished, run=tmp_path / "run")
    assert searching("--failure-share", "1").code == 0
    found = metaqnn("status", searching.run, "--json").json
    assert found["outcomes"] == {"chance_level": 13}
    assert found["best_reward"] is None
    assert ", failure share 1.0, " in found["trainer"]


def test_cifar10_is_predicted_too(slice_folder: Path, tmp_path: Path) -> None:
    experiment = experiment_file(tmp_path, "cifar10")
    searching = Searching(experiment, slice_folder, tmp_path / "run")
    assert searching().code == 0
    found = metaqnn("status", searching.run, "--json").json
    assert found["trainer"].startswith(f"surrogate of cifar10, seed {SEED}, failure share 0.019,")
    assert found["state"] == "complete"


def test_nothing_is_prepared_and_no_net_is_written(finished: Searching) -> None:
    assert not (finished.run / "trials").exists()
    assert not (finished.run / "preflight").exists()


def test_what_it_says(finished: Searching) -> None:
    lines = (finished.run.parent / "said").read_text().splitlines()
    trials = metaqnn("status", finished.run, "--json").json
    assert any(x.startswith("[13/13] ε 0.1 ") and "left in all" in x for x in lines)
    assert sum(x.startswith("    predicted: ") for x in lines) == 13
    guesses = [x for x in lines if "; a guess, outside the surrogate's range: " in x]
    assert len(guesses) == len(trials["outside"])
    assert any(f" {len(guesses)} of 13 nets are outside" in x for x in lines)
    assert not any("Estimate" in x or "Trainer check" in x for x in lines)


def test_it_is_computed_again_bit_for_bit(finished: Searching) -> None:
    said = metaqnn("verify", finished.run)
    assert said.code == 0, said
    assert "samples drawn" in said.out


# Resumed


@pytest.fixture(scope="module")
def whole(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Searching:
    """A longer search that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    experiment = experiment_file(folder, "svhn", ("[1.0, 4]", "[1.0, 60]"))
    searching = Searching(experiment, slice_folder, folder / "run")
    assert searching().code == 0
    return searching


@pytest.mark.parametrize("resume", [False, True])
def test_killed_it_goes_on_as_one_never_killed(
    whole: Searching, tmp_path: Path, resume: bool
) -> None:
    """By the same command, and by `metaqnn resume`."""
    killed = replace(whole, run=tmp_path / "killed")
    process = subprocess.Popen(
        [*METAQNN, *killed.words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[10/"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with read_replay_memory(killed.run / "replay.sqlite") as memory:
        assert 8 < len(memory.trials()) < 69
    assert metaqnn("status", killed.run, "--json").json["state"] == "not running"
    said = metaqnn("resume", killed.run) if resume else killed()
    assert said.code == 0, said
    assert "there already" in said.out
    assert killed.record() == whole.record()


def test_a_search_under_way_is_stopped_and_goes_on(slice_folder: Path, tmp_path: Path) -> None:
    experiment = experiment_file(tmp_path, "svhn", ("[1.0, 4]", "[1.0, 2000]"))
    searching = Searching(experiment, slice_folder, tmp_path / "run")
    process = subprocess.Popen(
        [*METAQNN, *searching.words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    found: dict[str, Any] = {"trained": 0}
    while found["trained"] < 3 and time.monotonic() < deadline:
        time.sleep(0.5)
        if (searching.run / "replay.sqlite").exists():
            said = metaqnn("status", searching.run, "--json")
            found = said.json if said.code == 0 else found
    assert found["state"] == "running"
    assert metaqnn("stop", searching.run, "--wait", "60").code == 0
    _, said_at_the_end = process.communicate(timeout=60)
    assert said_at_the_end == "metaqnn: interrupted; the same command goes on from here\n"
    assert metaqnn("status", searching.run, "--json").json["state"] == "not running"


def test_options_stored_before_there_was_a_choice_mean_a_caffe() -> None:
    stored = Options(Path("/data"), Path("/cache")).to_json()
    for name in ("trainer", "authors_data", "failure_share"):
        del stored[name]
    assert Options.from_json(stored) == Options(Path("/data"), Path("/cache"))


def test_the_choice_is_stored_as_it_was_made() -> None:
    chosen = Options(
        Path("/data"), Path("/cache"), trainer="surrogate", authors_data=Path("/authors"),
        failure_share=0.25,
    )  # fmt: skip
    assert Options.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen


# What stands against it


def copied(finished: Searching, folder: Path) -> Searching:
    """The same run in another folder, whose record may be changed."""
    run = folder / "run"
    run.mkdir()
    for name in ("experiment.toml", "replay.sqlite"):
        (run / name).write_bytes((finished.run / name).read_bytes())
    return replace(finished, run=run)


def test_another_surrogate_does_not_go_on_with_it(finished: Searching, tmp_path: Path) -> None:
    here = copied(finished, tmp_path)
    before = here.record()
    refusal = here("--failure-share", "0.5").refusal
    assert "their rewards do not mix; `metaqnn resume" in refusal
    assert here.record() == before
    assert metaqnn("resume", here.run).code == 0


def test_a_caffe_does_not_go_on_with_it(
    finished: Searching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = copied(finished, tmp_path)
    monkeypatch.setenv("CAFFE", "echo caffe version 1.0.0")
    words = ["search", here.experiment, "--seed", SEED, "--run", here.run]
    assert "(real) with --trainer caffe: their rewards do not mix" in metaqnn(*words).refusal
    assert metaqnn("transfer", here.run).refusal.endswith("name another run with RUN=...")


def test_the_surrogates_command_does_not_go_on_with_it_either(
    finished: Searching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it says the same to six digits."""
    here = copied(finished, tmp_path)
    name = surrogate_name("svhn", SEED)
    monkeypatch.setenv("CAFFE", shlex.join(["echo", name]))
    words = ["search", here.experiment, "--seed", SEED, "--run", here.run]
    assert "with --trainer surrogate, not by " in metaqnn(*words).refusal


def test_trained_rewards_that_were_imported_are_not_continued_with_predictions(
    finished: Searching, tmp_path: Path
) -> None:
    here = replace(finished, run=tmp_path / "run")
    freeze(load_experiment(here.experiment, "quick", SEED), here.run)
    memory = ReplayMemory(here.run / "replay.sqlite")
    memory.add_sample("[SM(10)]", 1.0, {})
    memory.close()
    assert here().refusal.startswith(f"{here.run} holds rewards of trained nets")


def test_other_files_of_the_authors_data_do_not_go_on_with_it(
    finished: Searching, tmp_path: Path, reference: Path
) -> None:
    here = replace(copied(finished, tmp_path), authors=reference / "authors-runs")
    refusal = here().refusal
    assert "was begun with other files of the authors' data (" in refusal
    assert "replay_database.csv" in refusal


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "svhn", "--trainer", "nonsense"], "a trainer is caffe or surrogate, not 'non"),
        (["search", "mnist"], "and not MNIST"),
        (["search", "svhn-small"], "and not SVHN, 10 %"),
        (["reproduce", "svhn"], "final trainings need a Caffe"),
        (["search", "svhn", "--gpus", "0", "--cpu-slots", "2"], "leave out --gpus, --cpu-slots"),
        (["search", "svhn", "--authors-data", __file__], "it is no folder"),
        (
            ["search", "svhn", "--trainer", "caffe", "--failure-share", "0"],
            "--authors-data and --failure-share go with --trainer surrogate",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_one_line_before_a_run_is_made(
    words: list[str], said: str, tmp_path: Path
) -> None:
    chosen = [] if "--trainer" in words else ["--trainer", "surrogate"]
    assert said in metaqnn(*words, *chosen, "--run", tmp_path / "run").refusal
    assert not (tmp_path / "run").exists()


def test_a_reward_that_counts_seconds_is_refused(slice_folder: Path, tmp_path: Path) -> None:
    penalty = '[exploration.penalty]\nof = "seconds"\nweight = 0.1\nper = 60.0\n\n[budget.paper]'
    experiment = experiment_file(tmp_path, "svhn", ("[budget.paper]", penalty))
    searching = Searching(experiment, slice_folder, tmp_path / "run")
    assert "penalty on seconds would be 0" in searching().refusal


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(finished: Searching, share: float) -> None:
    said = finished("--failure-share", share)
    assert said.code == 2
    assert "--failure-share" in said.err


def test_without_scikit_learn_it_says_what_to_install(
    finished: Searching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    here = replace(finished, run=tmp_path / "run")
    assert here().refusal == (
        "scikit-learn is not installed: .venv/bin/pip install 'scikit-learn>=1.4', or "
        "`make setup-dev`"
    )
    assert not here.run.exists()


def test_other_commands_do_not_import_scikit_learn() -> None:
    code = "import sys, reproduce.cli; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_files_that_are_missing_are_fetched(
    finished: Searching, slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network it says which, and where to put them."""
    authors = tmp_path / "authors"
    authors.mkdir()
    for path in slice_folder.iterdir():
        if path.name != files.SVHN_CURVES.name:
            (authors / path.name).symlink_to(path)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    here = replace(finished, authors=authors, run=tmp_path / "run")
    refusal = here().refusal
    assert refusal.startswith("cannot fetch the authors' data (")
    assert "put metaqnn_svhn.csv into a folder and name it with --authors-data" in refusal


@pytest.mark.parametrize(
    ("name", "change", "known"),
    [
        ("svhn", {}, True),
        ("cifar10", {}, True),
        ("cifar10", {"classes": 9}, False),
        ("cifar10", {"image": (1, 32, 32)}, False),
        ("svhn", {"svhn": "extended"}, False),
        ("mnist", {}, False),
    ],
)
def test_which_experiments_it_knows(name: str, change: dict[str, Any], known: bool) -> None:
    experiment = load_experiment(experiment_path(name), "quick", SEED)
    data = experiment.data.model_copy(update=change)
    changed = experiment.model_copy(update={"data": data})
    if known:
        assert data_set_of(changed) == name
    else:
        with pytest.raises(RunError, match="all of CIFAR-10 or SVHN"):
            data_set_of(changed)


# An honest record


def test_status_says_that_nothing_was_trained(finished: Searching) -> None:
    found = metaqnn("status", finished.run, "--json").json
    assert found["predicted"] is True
    text = metaqnn("status", finished.run).out
    assert "13 of 13 models predicted\n" in text
    assert "\nAll rewards are predicted, no net was trained\n" in text
    guesses = f"{len(found['outside'])} nets are outside the surrogate's range"
    assert (guesses in text) == bool(found["outside"])
    assert "trained by" not in text


def test_the_record_names_the_files_that_the_rewards_rest_on(finished: Searching) -> None:
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        sources = memory.get("data")["sources"]
        said = memory.get("provenance")["trainer"]
    assert {one["name"] for one in sources} == {pin.name for pin in files.PINS}
    assert said == f"{surrogate_name('svhn', SEED)} (surrogate)"


def test_tables_and_report_say_so(finished: Searching, tmp_path: Path) -> None:
    experiment = load_experiment(finished.experiment, "quick", SEED)
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        said = notes(experiment, memory)
    assert any("predicted by surrogate of svhn" in note for note in said)
    assert any("no net was trained: they measure nothing" in note for note in said)
    assert all(row.measured is None for one in tables_of([finished.run]) for row in one.rows)
    assert metaqnn("report", finished.run, "--out", tmp_path).code == 0
    page = (tmp_path / "index.html").read_text()
    assert "rewards predicted by surrogate of svhn" in page
    assert "trained by" not in page.partition("</header>")[0]
    assert "; predicted" in (tmp_path / "search.svg").read_text()
    assert "--trainer surrogate --authors-data" in page or "cannot be told" in page


def test_the_audit_refuses_it_as_evidence(finished: Searching) -> None:
    assert "predictions decide no claim" in metaqnn("audit", "--run", finished.run).refusal


def test_the_audit_of_its_own_report_does_not_count_it(finished: Searching) -> None:
    assert measured.searches("svhn", (finished.run,)).value["runs"] == []


def test_its_accuracies_are_marked(finished: Searching, tmp_path: Path) -> None:
    experiment = load_experiment(finished.experiment, "quick", SEED)
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        found = read_search(experiment, memory)
    assert found.mark.startswith("predicted, not trained, quick")
    assert found.mark.endswith("unverified data")  # a slice of the authors' files
    assert read_stability([finished.run]).mark == found.mark


def test_a_number_that_a_surrogate_said_would_be_marked_and_no_measurement(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", budget="paper")
    run.memory.put(trainer="surrogate of cifar10, seed 0 (surrogate)")
    run.measure("top/1", 0.9956)
    row = run.results.measurement("top/1")
    assert row is not None
    assert row.mark == "predicted, not trained"
    assert row.status == "predicted by a surrogate: nothing was measured"
    claim = claim_named("table-3/measured-mnist-top-model-later")
    assert audited(claim, Context(runs=(run.folder,))).finding.verdict is Verdict.NOT_RUN


def test_an_export_says_what_its_files_cannot(finished: Searching, tmp_path: Path) -> None:
    said = metaqnn("export", finished.run, "--out", tmp_path)
    assert said.code == 0, said
    assert "Their accuracies are predicted by surrogate of svhn" in said.out


def test_the_surrogates_command_makes_no_final_trainings(
    finished: Searching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose log would pass for a test error that was measured."""
    monkeypatch.setenv("CAFFE", shlex.join(["echo", surrogate_name("svhn", SEED)]))
    run = tmp_path / "run"
    refusal = metaqnn("reproduce", finished.experiment, "--run", run).refusal
    assert refusal.endswith("final trainings need a Caffe")
    assert not (run / "replay.sqlite").exists()
