"""The command line reads as gflags reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe_torch.flags import FlagError, Flags, parse

VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(VALUES)
def test_four_spellings_of_a_flag_are_the_same(value: str) -> None:
    expected = Flags(solver=value), ["train"]
    assert parse(["train", "-solver", value]) == expected
    assert parse(["train", f"--solver={value}"]) == expected
    assert parse([f"-solver={value}", "train"]) == expected
    assert parse(["--solver", value, "train"]) == expected


@given(st.integers(-(2**31), 2**31 - 1))
def test_integers(value: int) -> None:
    assert parse(["-iterations", str(value)])[0].iterations == value


@pytest.mark.parametrize(
    ("text", "value"), [("010", 10), ("0x1F", 31), ("-0x1f", -31), (" +7", 7), ("-0", 0)]
)
def test_integers_are_decimal_or_hexadecimal(text: str, value: int) -> None:
    assert parse(["-level", text])[0].level == value


@pytest.mark.parametrize("text", ["", "1_0", "0b1", "0o7", "1.0", "1e3", "0x", "١", "2147483648"])
def test_what_is_no_int32(text: str) -> None:
    with pytest.raises(FlagError, match="illegal value"):
        parse([f"-level={text}"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-solverr", "x"], "unknown command line flag 'solverr'"),
        (["-solver"], "flag '-solver' is missing its argument"),
        (["-iterations=ten"], "illegal value 'ten' specified for int32 flag 'iterations'"),
        (["--logtostderr=maybe"], "illegal value 'maybe' specified for bool flag"),
    ],
)
def test_refused(arguments: list[str], reason: str) -> None:
    with pytest.raises(FlagError, match=reason):
        parse(arguments)


def test_booleans_take_no_argument() -> None:
    flags, positional = parse(["-logtostderr", "train", "--noalsologtostderr"])
    assert flags.logtostderr
    assert not flags.alsologtostderr
    assert positional == ["train"]


@given(st.lists(st.text(max_size=12).filter(lambda text: not text.startswith("-")), max_size=6))
def test_words_are_positional(arguments: list[str]) -> None:
    assert parse(arguments) == (Flags(), arguments)
