"""Numbers and messages print as C++ prints them; files are read whole and written whole."""

import re
import tempfile
from pathlib import Path

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from caffe_torch import log, prototext
from caffe_torch.log import FatalError


def test_numbers_print_as_real_caffe_printed_them(reference: Path) -> None:
    """Every measured number of real Caffe's logs is printed again as it stands there."""
    numbers: list[str] = []
    for path in sorted((reference / "caffe-logs").glob("train_*.log")):
        numbers += re.findall(r" = (-?[\d.]+(?:e[-+]\d+)?|-?nan|-?inf)\b", path.read_text())
    assert len(numbers) > 500
    assert [log.number(float(text)) for text in numbers if "nan" not in text] == [
        text for text in numbers if "nan" not in text
    ]
    assert log.number(float("-nan")) == "-nan"


def test_prefix_is_glogs(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("net.cpp:86", "Creating Layer conv1")
    pattern = r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ net\.cpp:86\] Creating Layer conv1\n"
    assert re.fullmatch(pattern, capsys.readouterr().err)


@pytest.mark.parametrize(("level", "left"), [(0, "IWEF"), (1, "WEF"), (2, "EF"), (9, "F")])
def test_the_minimum_level(
    level: int, left: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOG_minloglevel", "0")
    log.set_minimum_level(level)
    for write in (log.info, log.warning, log.error):
        write("net.cpp:1", "x")
    log.fatal(FatalError("net.cpp:1", "x"))
    lines = capsys.readouterr().err.splitlines()
    assert "".join(line[0] for line in lines if "net.cpp" in line) == left


@pytest.mark.parametrize("character", ["a", "é", "🙂"])
def test_a_long_message_is_cut_where_glog_cuts_it(
    character: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """To 29,998 bytes with its prefix, or a few less rather than half a character."""
    log.info("net.cpp:53", character * 40_000)
    line = capsys.readouterr().err.removesuffix("\n")
    assert 0 <= 29_998 - len(line.encode()) < len(character.encode())
    assert line.endswith(character)


@given(
    st.builds(
        caffe_pb2.SolverParameter,
        base_lr=st.floats(width=32, allow_nan=False),
        gamma=st.floats(width=32, allow_nan=False, allow_infinity=False),
        lr_policy=st.text(),
        max_iter=st.integers(-(2**31), 2**31 - 1),
        test_iter=st.lists(st.integers(0, 1000)),
        solver_mode=st.sampled_from([0, 1]),
        snapshot_after_train=st.booleans(),
    )
)
def test_a_dump_reads_back_to_the_same_message(message: caffe_pb2.SolverParameter) -> None:
    text = prototext.debug_string(message)
    assert text_format.Parse(text, caffe_pb2.SolverParameter()) == message


@pytest.mark.parametrize(
    ("text", "where"),
    [("name: 'n'\nlayre {}", "2:6"), ("layer { name: }", "1:15"), ("layer {", "1:")],
)
def test_a_syntax_error_names_file_line_and_column(text: str, where: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises(FatalError) as caught:
        prototext.read_text(str(path), caffe_pb2.NetParameter(), "upgrade_proto.cpp:90")
    assert str(path) in caught.value.message
    assert where in caught.value.preamble[0]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_model_or_refused(data: bytes) -> None:
    try:
        expected = caffe_pb2.NetParameter.FromString(data)
    except DecodeError:
        expected = None
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        message = caffe_pb2.NetParameter()
        if expected is None:
            with pytest.raises(FatalError, match=file.name):
                prototext.read_binary(file.name, message, "upgrade_proto.cpp:97")
        else:
            read = prototext.read_binary(file.name, message, "upgrade_proto.cpp:97")
            assert read.SerializeToString() == expected.SerializeToString()


def test_a_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    message = caffe_pb2.NetParameter(name="first")
    prototext.write_binary(str(path), message)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(FatalError, match="No space left on device"):
        prototext.write_binary(str(path), caffe_pb2.NetParameter(name="second"))
    assert caffe_pb2.NetParameter.FromString(path.read_bytes()).name == "first"
    assert list(tmp_path.iterdir()) == [path]
