"""Of a search's trained models those of the highest rewards stay on the disk."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reproduce.kept_models import KeptModels
from reproduce.search.replay_memory import Trial
from reproduce.trainer import trial_folder
from reproduce.training.snapshots import MODEL


def ended(run: Path, number: int, reward: float | None) -> Trial:
    """A trial that has just ended and left its files."""
    folder = trial_folder(run, number)
    folder.mkdir(parents=True)
    (folder / MODEL).write_text("weights")
    (folder / "result.json").write_text("{}")
    outcome = "crashed" if reward is None else "finished"
    return Trial(number, f"net {number}", 1.0, outcome, reward, None)


def models(run: Path) -> set[int]:
    return {int(path.parent.name) for path in run.glob(f"trials/*/{MODEL}")}


@settings(max_examples=25)
@given(
    rewards=st.lists(st.none() | st.sampled_from([0.1, 0.5, 0.7, 0.9]), max_size=8),
    keep=st.integers(0, 4),
    killed=st.integers(0, 8),
)
def test_the_best_stay_however_often_the_run_was_killed(
    rewards: list[float | None], keep: int, killed: int
) -> None:
    """Of equal rewards the earlier trial's model stays."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        trials = [ended(run, n, reward) for n, reward in enumerate(rewards, start=1)]
        kept = KeptModels(run, keep, trials[:killed])
        for number, trial in enumerate(trials[killed:], start=killed + 1):
            kept.trained(trial)
            known = [t for t in trials[:number] if t.reward is not None]
            best = sorted(known, key=lambda t: (-(t.reward or 0.0), t.id))[:keep]
            later = {t.id for t in trials[number:]}
            assert models(run) - later == {t.id for t in best}
        known = [t for t in trials if t.reward is not None]
        best = sorted(known, key=lambda t: (-(t.reward or 0.0), t.id))[:keep]
        assert models(run) == {t.id for t in best}
        assert len(list(run.glob("trials/*/result.json"))) == len(trials)  # results all stay


def test_a_trial_still_in_training_keeps_its_files(tmp_path: Path) -> None:
    trial = ended(tmp_path, 1, None)
    under_way = Trial(trial.id, trial.architecture, 1.0, None, None, None)
    KeptModels(tmp_path, 0, [under_way])
    assert models(tmp_path) == {1}


@pytest.mark.parametrize("reward", [None, 0.5])
def test_a_model_that_is_gone_already_is_no_failure(tmp_path: Path, reward: float | None) -> None:
    trial = ended(tmp_path, 1, reward)
    (trial_folder(tmp_path, 1) / MODEL).unlink()
    KeptModels(tmp_path, 0, []).trained(trial)
    assert models(tmp_path) == set()
