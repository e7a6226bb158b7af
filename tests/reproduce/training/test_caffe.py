"""Which `caffe` is chosen, and what a wrong one is told."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reproduce.training.caffe import Caffe, CaffeError, find_caffe

FAKE = Path(__file__).parents[2] / "fake_caffe.py"


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_several_words_and_quotes(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    caffe = program(folder / "caffe", 'test "$1" = "two words" && echo caffe version 9')
    found = find_caffe({"CAFFE": f"'{caffe}' 'two words'"})
    assert found.argv == (str(caffe), "two words")
    assert (found.version, found.kind, found.gpu) == ("caffe version 9", "real", None)


def test_relative_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "caffe", "echo caffe version 9")
    monkeypatch.chdir(tmp_path)
    assert find_caffe({"CAFFE": "./caffe"}).argv == (str(tmp_path / "caffe"),)
    monkeypatch.chdir(FAKE.parent)
    words = f"{sys.executable} ./{FAKE.name}"
    assert find_caffe({"CAFFE": words}).argv == (sys.executable, str(FAKE))


def test_path_comes_second(tmp_path: Path) -> None:
    caffe = program(tmp_path / "caffe", "echo caffe version 8")
    assert find_caffe({"PATH": str(tmp_path)}).argv == (str(caffe),)
    named = program(tmp_path / "other", "echo caffe version 9")
    both = {"PATH": str(tmp_path), "CAFFE": str(named)}
    assert find_caffe(both).version == "caffe version 9"


def test_the_embedded_one_comes_last(tmp_path: Path) -> None:
    found = find_caffe({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert found.kind == "embedded"
    assert "caffe_torch" in found.version


@pytest.mark.conformance
def test_real_caffe(real_caffe: Path) -> None:
    found = find_caffe({"CAFFE": str(real_caffe)})
    assert (found.version, found.kind) == ("caffe version 1.0.0", "real")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("/no/such/caffe", "does not run: No such file"),
        ("no-such-program-anywhere", "does not run: No such file"),
        ("'", "is not a command line"),
        ("/dev/null", "does not run: Permission denied"),
        ("false", "exit code 1"),
        ("sh -c :", "said: nothing"),
    ],
)
def test_a_command_that_does_not_run_is_one_clear_line(words: str, said: str) -> None:
    with pytest.raises(CaffeError) as error:
        find_caffe({"CAFFE": words, "PATH": "/usr/bin:/bin"})
    assert said in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_arguments_and_environment() -> None:
    caffe = Caffe(("caffe",), "caffe version 9", "real")
    assert caffe.train_argv("s.prototxt") == ["caffe", "train", "--solver=s.prototxt"]
    gpu = replace(caffe, gpu=3, threads=2)
    assert gpu.train_argv("s", "x.solverstate") == [
        "caffe",
        "train",
        "--solver=s",
        "--snapshot=x.solverstate",
        "--gpu=3",
    ]
    quiet = {"A": "1", "GLOG_minloglevel": "2"}
    assert caffe.environment(quiet) == {
        "A": "1",
        "GLOG_logtostderr": "1",
        "GLOG_minloglevel": "0",
        "GLOG_log_prefix": "1",
    }
    assert gpu.environment({})["OMP_NUM_THREADS"] == "2"
    assert gpu.environment({})["OPENBLAS_NUM_THREADS"] == "2"
