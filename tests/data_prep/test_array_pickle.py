"""The restricted pickle reader against Python's own pickler, and against hostile files."""

import pickle
from collections import OrderedDict
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_prep.array_pickle import load_arrays
from data_prep.errors import DataError

PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)
TEXT = st.text(max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner, inner, inner)
        | st.tuples(inner)
    ),
    max_leaves=12,
)
DTYPES = (
    hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(32, 64))
    | hnp.boolean_dtypes()
)


@given(VALUES, PROTOCOLS)
def test_containers_text_and_numbers_come_back(value: Any, protocol: int) -> None:
    assert load_arrays(pickle.dumps(value, protocol), "file") == value


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)), PROTOCOLS)
def test_arrays_come_back(array: np.ndarray[Any, Any], protocol: int) -> None:
    """Also twice in one file, the second time by reference, and in Fortran's order."""
    value = {"a": array, "b": [array, array.copy(order="F")]}
    back = load_arrays(pickle.dumps(value, protocol), "file")
    for result in (back["a"], *back["b"]):
        assert result.shape == array.shape
        assert result.dtype.kind == array.dtype.kind
        assert result.dtype.itemsize == array.dtype.itemsize
        assert np.array_equal(result, array, equal_nan=array.dtype.kind == "f")
    assert back["b"][0] is back["a"]


@given(PROTOCOLS)
def test_numpy_scalars_come_back(protocol: int) -> None:
    back = load_arrays(pickle.dumps([np.float32(0.1), np.int64(-3)], protocol), "file")
    assert back == [np.float32(0.1), -3]


def test_python_2_strings_come_back_as_bytes() -> None:
    """What Python 2 writes for {'data': 'a\\xff'} at protocols 0, 1 and 2 (written by hand)."""
    assert load_arrays(b"(dp0\nS'data'\np1\nS'a\\xff'\np2\ns.", "file") == {b"data": b"a\xff"}
    assert load_arrays(b"}q\x00U\x04dataq\x01U\x02a\xffq\x02s.", "file") == {b"data": b"a\xff"}
    assert load_arrays(
        b"\x80\x02}q\x01U\x04dataq\x02T\x02\x00\x00\x00a\xffq\x03s.", "file"
    ) == {b"data": b"a\xff"}  # fmt: skip


def test_python_2_arrays_come_back() -> None:
    """uint8 [[1, 2]] as Python 2's numpy writes it, with its bytes as a `str`."""
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85"
        b"U\x01b\x87Rq\x03(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tb."
    )
    array = load_arrays(content, "file")
    assert array.dtype == np.uint8
    assert array.tolist() == [[1, 2]]


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_something_is_refused_and_not_run(
    tmp_path: Path, protocol: int
) -> None:
    target = tmp_path / "touched"
    content = pickle.dumps(_Bomb(target), protocol)
    with pytest.raises(DataError, match="file: refused"):
        load_arrays(content, "file")
    assert not target.exists()
    pickle.loads(content)  # noqa: S301 - the bomb is our own, and real
    assert target.exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"cos\nsystem\n(S'true'\ntR.", id="os.system"),
        pytest.param(b"(S'true'\nios\nsystem\n.", id="INST"),
        pytest.param(b"(cos\nsystem\nS'true'\no.", id="OBJ"),
        pytest.param(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", id="STACK_GLOBAL"),
        pytest.param(b"\x80\x02cnumpy\nload\n.", id="another numpy function"),
        pytest.param(b"\x80\x02cnumpy\nndarray\n.", id="a class itself"),
        pytest.param(b"\x80\x02cnumpy\nndarray\n)\x81.", id="NEWOBJ"),
        pytest.param(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R."),
        pytest.param(b"\x82\x01.", id="EXT1"),
        pytest.param(b"Pname\n.", id="PERSID"),
        pytest.param(b"\x80\x09N.", id="a protocol of the future"),
        pytest.param(b"]}b.", id="state set on a list"),
        pytest.param(b"K\x01K\x01a.", id="append to a number"),
    ],
)
def test_hostile_opcodes_are_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^file: refused: it holds .*; use the original file$"):
        load_arrays(content, "file")


@pytest.mark.parametrize(
    "value",
    [OrderedDict(a=1), Decimal(1), {1, 2}, np.array([object()]), np.array(["text"]),
     np.zeros(2, [("x", "u1")]), np.zeros(2, "complex64"), np.zeros(2, "M8[s]")],
    ids=lambda value: type(value).__name__ + str(getattr(value, "dtype", "")),
)  # fmt: skip
def test_other_objects_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="refused"):
        load_arrays(pickle.dumps(value, 4), "file")


def test_cycles_and_exponential_sharing_end() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(DataError, match="nested deeper"):
        load_arrays(pickle.dumps(cycle), "file")
    shared: list[Any] = []
    for _ in range(30):
        shared = [shared, shared]  # 2^30 paths to the innermost
    assert load_arrays(pickle.dumps(shared), "file")[0][0] is not None


@given(VALUES, PROTOCOLS, st.data())
def test_truncated_pickles_are_refused(value: Any, protocol: int, data: st.DataObject) -> None:
    content = pickle.dumps(value, protocol)
    with pytest.raises(DataError, match=r"^file: "):
        load_arrays(content[: data.draw(st.integers(0, len(content) - 1))], "file")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(DataError):  # any other exception fails the test
        load_arrays(content, "file")


BILLIONS = b"]q\x000" + b"(h\x00h\x00lq\x000" * 200 + b"h\x00"  # a list of 2^200 leaves
PAIRS = b")q\x000" + b"h\x00h\x00\x86q\x000" * 200 + b"h\x00"  # the same of tuples


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(BILLIONS + b".", id="nested lists"),
        pytest.param(b"}" + PAIRS + b"Ns.", id="hashed as a key"),
        pytest.param(b"(" + PAIRS + b"Nd.", id="hashed as a key of DICT"),
        pytest.param(b"cnumpy\ndtype\n" + BILLIONS + b"\x85R.", id="printed as a dtype"),
        pytest.param(
            b"c_codecs\nencode\n(X\x01\x00\x00\x00a" + BILLIONS + b"tR.", id="printed as a codec"
        ),
        pytest.param(BILLIONS + BILLIONS + b"\x93.", id="printed as a global"),
        pytest.param(
            b"cnumpy.core.numeric\n_frombuffer\n(C\x01acnumpy\ndtype\nU\x02u1\x85R"
            + BILLIONS + b"U\x01CtR.", id="printed as a shape",
        ),
        pytest.param(
            b"cnumpy.core.numeric\n_frombuffer\n(C\x01acnumpy\ndtype\nU\x02u1\x85R"
            + b"(" + b"J\xff\xff\xff\x7f" * 100_000 + b"tU\x01CtR.", id="multiplied sizes",
        ),
        pytest.param(b"\x8b\xff\xff\x0f\x00" + b"\xff" * 0xFFFFF + b".", id="a number of 1 MB"),
        pytest.param(
            b"cnumpy\ndtype\nq\x010T" + (10**7).to_bytes(4, "little") + bytes(10**7)
            + b"q\x000(" + b"h\x01h\x00\x85R" * 300_000 + b"l.", id="a long name, many times",
        ),
        pytest.param(b"]" * 3_000_000 + b".", id="millions of objects"),
        pytest.param(b"}" + b"".join(b"J%bNs" % n.to_bytes(4, "little") for n in range(20_000))
                     + b".", id="a dictionary of many keys"),
    ],
)  # fmt: skip
def test_small_files_that_describe_huge_values_are_refused(content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        load_arrays(content, "file")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_text_that_is_encoded_a_thousand_times_is_held_once() -> None:
    """Python 3 writes bytes as a call of encode on text; here 50 GB of them, from 1 MB."""
    text = b"c_codecs\nencode\nq\x010X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x000"
    calls = b"h\x01(h\x00X\x06\x00\x00\x00latin1tR" * 50_000
    values = load_arrays(b"(" + text + calls + b"l.", "file")
    assert len(values) == 50_000
    assert {id(value) for value in values} == {id(values[0])}
    assert values[0] == b"a" * (1 << 20)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x04\x8c\x03a\nb\x8c\x03c\nd\x93.", id="line breaks in a name"),
        pytest.param(b"c" + b"m" * 9999 + b"\nname\n.", id="a long name"),
        pytest.param(b"F" + b"x" * 9999 + b"\n.", id="a long number"),
        pytest.param(b"I" + b"9" * 9999 + b"\n.", id="a number of many digits"),
        pytest.param(
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(V" + b"u" * 9999
            + b"\ntRC\x01atR.", id="a long element type",
        ),
    ],
)  # fmt: skip
def test_errors_quote_the_file_in_one_short_line(content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        load_arrays(content, "file")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_a_size_that_lies_is_refused_without_allocating() -> None:
    for content in (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", b"\x80\x02]r\xff\xff\xff\x7f0."):
        with pytest.raises(DataError):
            load_arrays(content, "file")
