"""`metaqnn space`: how large a space is, and whether an architecture is in it."""

from pathlib import Path
from typing import Any

import pytest

from reproduce.experiments.load import experiment_path


# Counts of other programs: the released enumerator, and a study of the paper.
@pytest.mark.parametrize(
    ("experiment", "preset", "states", "pairs", "stochastic", "architectures"),
    [
        ("cifar10", "paper", 603, 7295, 540, 672024953786969668850),
        ("cifar10", "released", 235, 2900, 0, 31463939331955288250),
        ("cifar10", "authors", 674, 6843, 540, 282710031500590500770),
        ("svhn", "paper", 369, 4415, 324, 119620092607730),
        ("svhn", "released", 157, 1886, 0, 10537209620666),  # of the 28 pixels it believes in
        ("svhn", "authors", 410, 4161, 324, 57869407275938),
        ("mnist", "paper", 369, 4415, None, 102940553229362),
    ],
)
def test_the_counts_of_each_preset(
    metaqnn: Any,
    experiment: str,
    preset: str,
    states: int,
    pairs: int,
    stochastic: int | None,
    architectures: int,
) -> None:
    said = metaqnn("space", experiment, "--preset", preset, "--json")
    assert said.code == 0
    counts = said.json["counts"]
    assert (counts["states"], counts["pairs"]) == (states, pairs)
    assert stochastic in (None, counts["stochastic_pairs"])
    assert counts["architectures"] == architectures  # exact, though beyond 2⁵³
    assert said.json["preset"] == preset


def test_the_text_has_the_same_counts(metaqnn: Any) -> None:
    assert metaqnn("space", "svhn", "--preset", "released").out.splitlines()[0] == (
        "svhn, preset released: 157 states, 1,886 pairs of state and action (0 stochastic), "
        "10,537,209,620,666 architectures (1.054e+13)"
    )


def test_gap_after_fc_is_counted_both_ways(metaqnn: Any) -> None:
    """The paper leaves it open: each of the 81 FC states has one pair more with it."""
    found = metaqnn("space", "cifar10", "--json").json
    assert list(found["relaxed"]) == ["with GAP after FC"]
    other = found["relaxed"]["with GAP after FC"]
    assert (other["states"], other["pairs"]) == (603, 7376)
    assert f"{other['architectures']:.3e}" == "6.918e+20"
    assert "space.gap_after_fc" in found["unstated"]
    lines = metaqnn("space", "svhn").out.splitlines()
    assert lines[1].startswith("    with GAP after FC: 369 states, 4,460 pairs")
    assert any(line.startswith("    unstated: space.gap_after_fc: left open") for line in lines)


def test_a_space_without_fc_is_the_same_with_gap_after_fc(metaqnn: Any) -> None:
    """The released code never offers FC."""
    found = metaqnn("space", "cifar10", "--preset", "released", "--json").json
    assert found["relaxed"]["with GAP after FC"] == found["counts"]


MEMBER = "[C(64,3,1), P(2,2), SM(10)]"


def test_a_member_is_said_to_be_one(metaqnn: Any) -> None:
    said = metaqnn("space", "svhn", "--member", MEMBER)
    assert said.code == 0
    assert said.out.splitlines()[-1] == f"{MEMBER} is a member"


@pytest.mark.parametrize(
    ("preset", "architecture", "rule"),
    [
        ("released", MEMBER, "layer 2, P(2,2): the space has no pooling"),
        (
            "paper",
            "[P(2,2), SM(10)]",
            "layer 1, P(2,2): pooling may not come first",
        ),
        (
            "paper",
            "[C(64,3,1), FC(512), SM(10)]",
            "layer 2, FC(512): FC needs an R-size below 8, here it is 32",
        ),
        ("paper", "[C(64,3,1), SM(2)]", "layer 2, SM(2): the data set has 10 classes"),
        ("authors", "[C(64,7,1), SM(10)]", "a convolution's receptive field is 1, 3 or 5, not 7"),
    ],
)
def test_what_is_no_member_breaks_a_rule_that_is_named(
    metaqnn: Any, preset: str, architecture: str, rule: str
) -> None:
    said = metaqnn("space", "svhn", "--preset", preset, "--member", architecture)
    assert said.code == 1  # so that a script can ask
    assert said.out.splitlines()[-1].startswith(f"{architecture} is no member: ")
    assert rule in said.out


def test_members_in_json(metaqnn: Any) -> None:
    said = metaqnn("space", "svhn", "--member", MEMBER, "--member", "[P(2,2), SM(10)]", "--json")
    assert said.code == 1
    rule = "layer 1, P(2,2): pooling may not come first"
    assert said.json["members"] == [
        {"architecture": MEMBER, "member": True, "broken_rule": ""},
        {"architecture": "[P(2,2), SM(10)]", "member": False, "broken_rule": rule},
    ]


@pytest.mark.parametrize("text", ["[C(64,3), SM(10)]", "C(64,3,1)", "[X(1), SM(10)]", ""])
def test_a_text_that_is_no_architecture_is_refused_and_pointed_into(
    metaqnn: Any, text: str
) -> None:
    said = metaqnn("space", "svhn", "--member", text)
    assert (said.code, said.out) == (1, "")
    problem, shown, pointer = said.err.splitlines()
    assert problem.startswith("metaqnn: ")
    assert shown == f"  {text}"
    assert pointer.strip() == "^"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["space", "imagenet"], "no experiment 'imagenet'; there are: cifar10, mnist, "),
        (["space", "mnist", "--preset", "ours"], "no preset 'ours'; there are: paper, released,"),
        (["space", "mnist-v1", "--preset", "released"], "no preset 'released'; there are: paper"),
    ],
)
def test_unknown_names_are_refused_with_those_there_are(
    metaqnn: Any, words: list[str], problem: str
) -> None:
    assert problem in metaqnn(*words).refusal


@pytest.fixture
def of_one_layer(tmp_path: Path) -> Path:
    """A user's experiment of one layer, whose only budget is `mine`.

    [SM(10)] costs 28² · 10 multiply-accumulates, [GAP(10), SM(10)] with its 1×1 convolution as
    many; a convolution of F filters and S × S pixels 28² · S² · F, its softmax 28² · F · 10, its
    GAP as much. The cap is that of [C(64,3,1), SM(10)].
    """
    head, _, _ = experiment_path("mnist").read_text().partition("[budget.paper]")
    assert "depth = 12" in head
    cap = 28 * 28 * 64 * (9 + 10)
    text = head.replace("depth = 12", "depth = 1")
    path = tmp_path / "mine.toml"
    path.write_text(f"{text}[budget.mine]\nmax_forward_macs = {cap}\n")
    return path


def test_a_users_experiment_is_counted_whatever_its_budgets(
    metaqnn: Any, of_one_layer: Path
) -> None:
    """Softmax, GAP, and each of 12 convolutions with either."""
    found = metaqnn("space", of_one_layer, "--json").json
    assert found["counts"]["architectures"] == 2 + 12 * 2
    assert found["capped"] is None
    assert "budget" not in metaqnn("space", of_one_layer).out


def test_a_budgets_cap_is_counted_beside_the_whole_space(metaqnn: Any, of_one_layer: Path) -> None:
    """C(64,1,1) and C(64,3,1) are left, each with GAP and softmax: 128 filters cost 28² · 128 · 11
    at the least, which is more."""
    assert 128 * 11 > 64 * (9 + 10)
    said = metaqnn("space", of_one_layer, "--budget", "mine", "--json")
    assert said.json["counts"]["architectures"] == 26
    capped = said.json["capped"]
    cap = 28 * 28 * 64 * 19
    assert (capped["budget"], capped["of"], capped["at_most"]) == ("mine", "macs", cap)
    assert 4 <= capped["low"] <= 6 <= capped["high"] <= 8
    line = metaqnn("space", of_one_layer, "--budget", "mine").out.splitlines()[1]
    assert line == (
        f"    budget mine, at most {cap:,} macs: from {capped['low']:g} to "
        f"{capped['high']:g} architectures"
    )


def test_what_costs_more_than_the_cap_is_no_member(metaqnn: Any, of_one_layer: Path) -> None:
    words = ["space", of_one_layer, "--budget", "mine", "--member"]
    assert metaqnn(*words, "[C(64,3,1), SM(10)]").code == 0
    said = metaqnn(*words, "[C(128,1,1), SM(10)]")
    assert said.code == 1
    assert said.out.splitlines()[-1] == (
        f"[C(128,1,1), SM(10)] is no member: its macs, {28 * 28 * 128 * 11:,}, exceed the "
        f"budget's cap of {28 * 28 * 64 * 19:,}"
    )
    assert metaqnn("space", of_one_layer, "--member", "[C(128,1,1), SM(10)]").code == 0


def test_a_budget_without_a_cap_is_the_whole_space(metaqnn: Any) -> None:
    with_it = metaqnn("space", "mnist", "--budget", "paper", "--json").json
    assert with_it == metaqnn("space", "mnist", "--json").json


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[budget", "mine.toml: "),
        (b"\xff", "mine.toml: "),
        (b"budget = 1", "mine.toml: budget: must be a table"),
        (b"", "no budget 'paper'; there are: none"),
    ],
)
def test_a_file_without_any_budget_is_refused_in_one_line(
    metaqnn: Any, tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    assert problem in metaqnn("space", tmp_path / "mine.toml").refusal
