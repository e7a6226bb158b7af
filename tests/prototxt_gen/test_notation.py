"""The notation: parse and str are inverse, errors point at the character."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePooling,
    NotationError,
    Pooling,
    Softmax,
    parse,
)

numbers = st.integers(1, 999_999_999)
hidden = st.one_of(
    st.builds(Convolution, numbers, numbers, numbers),
    st.builds(Pooling, numbers, numbers),
    st.builds(FullyConnected, numbers),
    st.builds(Dropout, numbers, numbers),
)
ends = st.builds(Softmax, numbers).map(lambda end: (end,)) | st.builds(
    lambda gap, end: (gap, end),
    st.builds(GlobalAveragePooling, numbers),
    st.builds(Softmax, numbers),
)
architectures = st.builds(lambda a, b: Architecture((*a, *b)), st.lists(hidden, max_size=12), ends)


@given(architectures)
def test_parse_inverts_str(architecture: Architecture) -> None:
    assert parse(str(architecture)) == architecture


@given(architectures, st.data())
def test_blanks_are_free(architecture: Architecture, data: st.DataObject) -> None:
    blanks = st.text(" \t\n", max_size=2)
    text = "".join(
        data.draw(blanks) + c if c in "[](,)" else c for c in str(architecture).replace(" ", "")
    )
    assert parse(text + data.draw(blanks)) == architecture


@given(st.text(alphabet="[]()CPFGASMD,0123456789 x", max_size=40))
def test_any_text_parses_or_points_into_itself(text: str) -> None:
    problem = None
    try:
        architecture = parse(text)
    except NotationError as error:
        problem = error
    if problem is None:
        assert str(architecture).replace(" ", "") == text.replace(" ", "")
        return
    first, *shown, caret = str(problem).split("\n")
    assert first.endswith(f"at character {problem.position + 1}")
    assert shown == [f"  {text}"]
    assert caret.index("^") == 2 + problem.position <= 2 + len(text)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "expected '['"),
        ("[C(64,3,1)", 10, "expected ',' or ']'"),
        ("[C(64,3), SM(10)]", 7, "expected ','"),
        ("[X(1), SM(10)]", 1, "unknown layer 'X'"),
        ("[C(0,3,1), SM(10)]", 3, "filters of C must be in"),
        ("[SM(10), P(2,2)]", 9, "no layer may follow SM(10)"),
        ("[GAP(10), P(2,2), SM(10)]", 10, "only SM may follow GAP(10)"),
        ("[P(2,2)]", 7, "ends in SM"),
        ("[SM(10)] and more", 9, "nothing may follow"),
        ("[SM(-1)]", 4, "expected the classes of SM"),
    ],
)
def test_errors_point_at_the_character(text: str, position: int, words: str) -> None:
    with pytest.raises(
        NotationError, match=words.replace("(", r"\(").replace(")", r"\)").replace("[", r"\[")
    ) as caught:
        parse(text)
    assert caught.value.position == position


def test_a_layer_refuses_numbers_below_one() -> None:
    with pytest.raises(ValueError, match="C: stride must be at least 1, not 0"):
        Convolution(64, 3, 0)


def test_the_authors_own_strings_round_trip(reference: Path) -> None:
    count = 0
    for name in ("replay_database", "metaqnn_cifar10", "metaqnn_svhn"):
        with (reference / "authors-runs" / f"{name}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                assert str(parse(row["net"])) == row["net"]
                count += 1
    assert count == 1983 + 1000 + 1300
