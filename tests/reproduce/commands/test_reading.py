"""What `--json` prints."""

import contextlib
import io
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reproduce.commands.reading import print_result


def printed(content: Any) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_result(content, as_json=True)
    return out.getvalue()


def plain(floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    """Plain data with these numbers in it."""
    leaves = st.none() | st.booleans() | st.integers() | floats | st.text()
    return st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=9)


@given(plain(st.floats(allow_nan=False, allow_infinity=False)))
def test_finite_data_is_printed_as_it_is(content: Any) -> None:
    assert json.loads(printed(content)) == content


@given(plain(st.just(math.nan) | st.just(math.inf) | st.just(-math.inf)))
def test_a_number_that_is_not_finite_is_null(content: Any) -> None:
    constants: list[str] = []
    read = json.loads(printed({"content": content}), parse_constant=constants.append)
    assert constants == []
    assert json.dumps(read["content"]) == json.dumps(
        json.loads(json.dumps(content), parse_constant=lambda _: None)
    )


def test_letters_beyond_ascii_can_be_read() -> None:
    assert printed({"run": "/läufe/ε"}) == '{\n  "run": "/läufe/ε"\n}\n'


def test_tuples_are_lists() -> None:
    assert json.loads(printed((1.5, (math.nan,)))) == [1.5, [None]]
