"""`metaqnn status`: what a user is told of a run under way, dead or complete."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from reproduce.experiments.load import load_experiment
from reproduce.run import freeze, locked
from reproduce.search.replay_memory import read_replay_memory

LOGS = Path(__file__).parents[1] / "training" / "logs"


def agree(text: str, found: dict[str, Any]) -> None:
    """Each line of the text says what the JSON says."""
    who = "" if found["owner"] is None else " by process {pid} on {host}".format(**found["owner"])
    run, about, count, *rest = text.splitlines()
    assert run == f"{found['run']}: {found['state']}{who}"
    assert about == (
        f"{found['experiment']}, preset {found['preset']}, budget {found['budget']}, seed "
        f"{found['seed']}; trained by {found['trainer']} on {found['device']}"
    )
    assert count.startswith(f"{found['trained']} of {found['wanted']} models trained")
    stages = re.findall(r"^    ε (\S+): (\d+) of (\d+), (\d+) samples(?:, .* (\S+))?$", text, re.M)
    assert [tuple(map(float, filter(None, stage))) for stage in stages] == [
        tuple(
            pytest.approx(value, abs=5e-5)
            for key in ("epsilon", "trained", "wanted", "samples", "mean_reward")
            if (value := stage[key]) is not None
        )
        for stage in found["stages"]
        if stage["samples"]
    ]
    outcomes = re.findall(r"(\d+) (\w+)", next((x for x in rest if x.startswith("Outcomes")), ""))
    assert {name: int(number) for number, name in outcomes} == found["outcomes"]
    under_way = [line for line in rest if line.startswith("Under way")]
    assert len(under_way) == len(found["under_way"])
    for line, trial in zip(under_way, found["under_way"], strict=True):
        assert f"trial {trial['id']}, {trial['architecture']}, attempt {trial['attempt']}" in line
        assert f"iteration {trial['iteration']}" in line
    best = f"Best: {found['best']}, reward {found['best_reward'] or 0:.4f}"
    assert (best in rest) is (found["best"] is not None)


def test_a_folder_without_a_run_is_named(metaqnn: Any, tmp_path: Path) -> None:
    assert metaqnn("status", tmp_path).refusal == (
        f"{tmp_path} holds no run: experiment.toml is missing"
    )


def test_a_run_killed_before_its_first_record_is_named(metaqnn: Any, small: Any) -> None:
    freeze(load_experiment(small.file, "smoke", 5), small.run)
    assert "replay.sqlite" in metaqnn("status", small.run).refusal


def test_a_finished_run(metaqnn: Any, finished: Any) -> None:
    """The numbers are those of the replay memory, counted here."""
    found = metaqnn("status", finished.run, "--json").json
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        trials, samples = memory.trials(), memory.samples()
    assert (found["state"], found["owner"]) == ("complete", None)
    assert (found["experiment"], found["preset"], found["seed"]) == ("mnist", "paper", 5)
    assert (found["trained"], found["wanted"], found["epsilon"]) == (3, 3, None)
    assert found["outcomes"] == {"finished": 3}
    assert found["under_way"] == []
    assert found["best_reward"] == max(trial.reward for trial in trials if trial.reward)
    assert found["best"] in {t.architecture for t in trials if t.reward == found["best_reward"]}
    rewards = {trial.id: trial.reward or 0.0 for trial in trials}
    for stage, (epsilon, wanted) in zip(found["stages"], ((1.0, 2), (0.1, 1)), strict=True):
        of_stage = [rewards[x.trial] for x in samples if x.epsilon == epsilon]
        assert (stage["epsilon"], stage["wanted"], stage["trained"]) == (epsilon, wanted, wanted)
        assert stage["samples"] == len(of_stage)
        assert stage["mean_reward"] == pytest.approx(sum(of_stage) / len(of_stage))
    text = metaqnn("status", finished.run).out
    agree(text, found)
    assert "left" not in text


def test_a_dead_run_says_where_its_trial_stands(metaqnn: Any, unfinished: Any) -> None:
    """The second net had its first epoch of two when the disk was full."""
    found = metaqnn("status", unfinished.run, "--json").json
    assert (found["state"], found["owner"]) == ("not running", None)
    assert (found["trained"], found["wanted"], found["epsilon"]) == (1, 3, 1.0)
    (trial,) = found["under_way"]
    assert (trial["id"], trial["attempt"], len(trial["accuracies"])) == (2, 0, 1)
    assert trial["iteration"] in (1, 2)
    assert trial["loss"] > 0
    assert found["seconds_left"] > 0
    text = metaqnn("status", unfinished.run).out
    agree(text, found)
    assert f"accuracy {trial['accuracies'][0]:.4f}" in text
    assert re.search(r"1 of 3 models trained, about \d+ s left", text)


def test_a_run_under_way_names_its_driver(metaqnn: Any, unfinished: Any) -> None:
    with locked(unfinished.run):
        found = metaqnn("status", unfinished.run, "--json").json
        text = metaqnn("status", unfinished.run).out
    assert found["state"] == "running"
    assert found["owner"]["host"] == socket.gethostname()
    agree(text, found)
    assert metaqnn("status", unfinished.run, "--json").json["state"] == "not running"


def test_a_diverging_nets_loss_is_null_in_json(metaqnn: Any, unfinished: Any) -> None:
    """`caffe` writes nan; JSON has no such number."""
    log = unfinished.run / "trials" / "0002" / "caffe_1_0.log"
    log.write_bytes((LOGS / "train_nan_adam1e30.log").read_bytes())
    (trial,) = metaqnn("status", unfinished.run, "--json").json["under_way"]
    assert (trial["attempt"], trial["loss"]) == (1, None)
    assert ", loss nan" in metaqnn("status", unfinished.run).out


def test_json_stays_plain_where_colour_is_forced(
    metaqnn: Any, finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = metaqnn("status", finished.run, "--json")
    assert "\x1b" not in said.out
    assert said.json["state"] == "complete"
