"""The report on a space: its sizes, its open question answered both ways, its members."""

from pathlib import Path

import pytest

from prototxt_gen.notation import NotationError
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.space_report import space_report


def shallow(name: str, depth: int, folder: Path) -> Experiment:
    """An experiment whose space has few layers."""
    text = experiment_path(name).read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("depth = "))
    path = folder / f"{name}.toml"
    path.write_text(text.replace(line, f"depth = {depth}"))
    return load_experiment(path, "paper", 0)


def test_two_layers_counted_by_hand(tmp_path: Path) -> None:
    """28 pixels: from the start 12 convolutions, GAP, softmax; from each of those 12 states
    12 convolutions and 3 poolings; at depth two terminations alone.

    The states after two layers are 12 of convolutions and 3 of poolings, R-size 14 all of them.
    """
    report = space_report(shallow("mnist", 2, tmp_path), [])
    assert report.counts.states == 1 + 12 + 15
    assert report.counts.pairs == (12 + 2) + 12 * (15 + 2) + 15 * 2
    assert report.counts.stochastic_pairs == 0
    assert report.counts.architectures == 2 + 12 * 2 + 12 * 15 * 2
    # No FC is reachable in two layers, so that GAP after FC changes nothing.
    assert report.relaxed == {"with GAP after FC": report.counts}
    assert report.members == ()


def test_only_choices_of_the_space_are_told_as_unstated(tmp_path: Path) -> None:
    experiment = shallow("mnist", 1, tmp_path)
    report = space_report(experiment, [])
    assert set(report.unstated) == {
        field for field in experiment.unstated if field.partition(".")[0] == "space"
    }
    assert 0 < len(report.unstated) < len(experiment.unstated)


def test_the_first_versions_open_question_is_its_receptive_fields(tmp_path: Path) -> None:
    """From m = 1 on, a convolution of one layer may have fields of half the image too."""
    report = space_report(shallow("mnist-v1", 2, tmp_path), [])
    assert report.family == "first_version"
    (name,) = report.relaxed
    assert name == "receptive fields n/2^m from m = 1 on"
    assert report.relaxed[name].architectures > report.counts.architectures


def test_members_are_told_in_the_order_asked(tmp_path: Path) -> None:
    asked = ["[SM(10)]", "[C(64,1,1), C(64,1,1), C(64,1,1), SM(10)]", "[GAP(10), SM(10)]"]
    report = space_report(shallow("mnist", 2, tmp_path), asked)
    assert [one.architecture for one in report.members] == asked
    assert [one.member for one in report.members] == [True, False, True]
    assert report.members[1].broken_rule == (
        "layer 3, C(64,1,1): at depth 2 only a termination may follow"
    )


def test_dropout_does_not_matter_to_membership(tmp_path: Path) -> None:
    (one,) = space_report(
        shallow("mnist", 2, tmp_path), ["[C(64,1,1), C(64,1,1), D(1,1), SM(10)]"]
    ).members
    assert one.member


def test_a_text_that_is_no_architecture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotationError, match=r"(?s)at character .*\[C\(64,1\)"):
        space_report(shallow("mnist", 1, tmp_path), ["[C(64,1), SM(10)]"])
