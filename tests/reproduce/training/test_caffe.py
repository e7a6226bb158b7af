"""Which `caffe` is chosen, and what a wrong one is told."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reproduce.training.caffe import Caffe, CaffeError, find_caffe
from reproduce.training.commands import split_command

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
    run = Path("/r")
    launch = caffe.train(run, "s.prototxt")
    assert (launch.argv, launch.stop) == (["caffe", "train", "--solver=s.prototxt"], None)
    gpu = replace(caffe, gpu=3, threads=2)
    assert gpu.train(run, "s", "x.solverstate").argv == [
        "caffe",
        "train",
        "--solver=s",
        "--snapshot=x.solverstate",
        "--gpu=3",
    ]
    assert gpu.launch(run, ["device_query"]).argv == ["caffe", "device_query", "--gpu=3"]
    quiet = {"A": "1", "GLOG_minloglevel": "2"}
    assert caffe.environment(quiet) == {
        "A": "1",
        "GLOG_logtostderr": "1",
        "GLOG_minloglevel": "0",
        "GLOG_log_prefix": "1",
    }
    assert gpu.environment({})["OMP_NUM_THREADS"] == "2"
    assert gpu.environment({})["OPENBLAS_NUM_THREADS"] == "2"


# Containers and other hosts


def test_placeholders_are_filled_in_for_each_process(tmp_path: Path) -> None:
    """The version is asked with them too."""
    told = tmp_path / "told"
    runner = program(tmp_path / "docker", f'echo "$@" >> {told}; echo caffe version 9')
    caffe = find_caffe(
        {
            "CAFFE": f"{runner} run --name {{name}} -v {{run}}:/run caffe",
            "CAFFE_STOP": f"{runner} kill --signal {{signal}} {{name}} {{run}} {{solver}}",
        },
        Path("/runs/mine"),
    )
    _, _, asked_name, _, mount, *rest = told.read_text().split()
    assert (mount, rest) == ("/runs/mine:/run", ["caffe", "--version"])
    one, two = (caffe.train(Path("/runs/mine"), "trials/1/solver_0.prototxt") for _ in range(2))
    name = one.argv[3]
    assert re.fullmatch("metaqnn-[0-9a-f]{32}", name)
    assert len({name, two.argv[3], asked_name}) == 3
    assert one.argv[4:] == [
        "-v",
        "/runs/mine:/run",
        "caffe",
        "train",
        "--solver=trials/1/solver_0.prototxt",
    ]
    assert one.stop is not None
    assert one.stop.values == {
        "name": name,
        "run": "/runs/mine",
        "solver": "trials/1/solver_0.prototxt",
    }


def test_without_a_run_the_working_directory_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caffe = program(tmp_path / "caffe", 'echo "in $1"')
    monkeypatch.chdir(tmp_path)
    assert find_caffe({"CAFFE": f"{caffe} {{run}}"}).version == f"in {tmp_path}"


def test_a_relative_run_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    caffe = Caffe(("docker", "{run}"), "caffe version 9", "real")
    assert caffe.train(Path("runs/a"), "s").argv[1] == str(tmp_path / "runs" / "a")


@pytest.mark.parametrize(
    ("caffe", "stop", "said"),
    [
        ("echo {solver}", "", "CAFFE='echo {solver}' is not a command line: {solver} is no"),
        ("echo {x}", "", "{x} is no placeholder; there are {run}, {name}"),
        ("echo", "kill {pid}", "{pid} is no placeholder; there are {run}, {name}, {solver}, {si"),
        ("echo", "'", 'CAFFE_STOP="\'" is not a command line'),
        ("echo", "/no/such/kill {name}", "there is no program /no/such/kill"),
    ],
)
def test_a_command_that_cannot_be_understood(caffe: str, stop: str, said: str) -> None:
    with pytest.raises(CaffeError) as error:
        find_caffe({"CAFFE": caffe, "CAFFE_STOP": stop, "PATH": "/usr/bin:/bin"})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_stop_command_goes_with_caffe(tmp_path: Path) -> None:
    """Left behind in the environment, it concerns no other caffe."""
    program(tmp_path / "caffe", "echo caffe version 9")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CAFFE_STOP": "echo {signal}"}
    assert find_caffe(env).stop == ()
    assert find_caffe({**env, "CAFFE": "caffe"}).stop[1:] == ("{signal}",)


@pytest.mark.parametrize("runner", ["docker", "podman", "ssh", "kubectl", "srun"])
def test_a_runner_that_caffe_outlives_needs_a_stop_command(runner: str) -> None:
    caffe = Caffe((f"/usr/bin/{runner}", "host", "caffe"), "caffe version 9", "real")
    assert caffe.warning is not None
    assert f"CAFFE runs through {runner}" in caffe.warning
    assert "CAFFE_STOP='" in caffe.warning
    assert "\n" not in caffe.warning
    example = caffe.warning.partition("CAFFE_STOP='")[2].partition("'")[0]
    known = ("run", "name", "solver", "signal")
    assert any("{signal}" in word for word in split_command(example, known, {}))
    assert replace(caffe, stop=("kill", "{signal}")).warning is None


@pytest.mark.parametrize("words", ["caffe", "/opt/ssh/caffe", "apptainer exec caffe.sif caffe"])
def test_others_need_none(words: str) -> None:
    assert Caffe(tuple(words.split()), "caffe version 9", "real").warning is None
