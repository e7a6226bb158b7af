"""`metaqnn doctor`: each check, well and not well, and what it says to do."""

import os
import re
import shutil
import stat
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from reproduce.run import LOCK_FILE, locked

MARKS = {"ok": "ok  ", "warning": "warn", "failure": "FAIL"}


def command(small: Any, *words: object) -> list[object]:
    """The words that examine a small experiment's machine."""
    folders = ["--run", small.run, "--data", small.data, "--cache", small.data / "cache"]
    return ["doctor", small.file, "--budget", "smoke", *folders, *words]


def examined(metaqnn: Any, small: Any, *words: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and what each check found: of several findings of a check the worst."""
    said = metaqnn(*command(small, *words), "--json")
    checks: dict[str, Any] = {}
    rank = list(MARKS)
    for finding in said.json:
        worst = checks.setdefault(finding["check"], finding)
        if rank.index(finding["level"]) > rank.index(worst["level"]):
            checks[finding["check"]] = finding
    return said.code, checks


def program(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_machine_that_is_ready(metaqnn: Any, small: Any) -> None:
    code, checks = examined(metaqnn, small, "--cpu-slots", "2")
    assert code == 0
    assert {finding["level"] for finding in checks.values()} == {"ok"}
    assert "caffe version 1.0.0-fake (real)" in checks["caffe"]["found"]
    assert checks["cpu"]["found"].endswith("CPUs, 2 trials at a time")
    assert {"pycaffe", "disk", "data", "permissions"} <= checks.keys()
    assert not small.run.exists()  # it only looks


def test_the_text_says_the_same_as_the_json(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "typo"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**12))
    said, text = metaqnn(*command(small), "--json"), metaqnn(*command(small))
    lines = []
    for finding in said.json:
        lines.append(f"{MARKS[finding['level']]} {finding['check']}: {finding['found']}")
        lines += [f"     {finding['remedy']}"] if finding["remedy"] else []
    assert text.out.splitlines() == lines
    assert said.code == text.code == 1
    assert f"FAIL data: DATA_DIR={tmp_path / 'typo'} is no folder" in lines


def test_a_caffe_that_does_not_run(
    metaqnn: Any, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other checks are made all the same."""
    monkeypatch.setenv("CAFFE", "/nowhere/caffe")
    code, checks = examined(metaqnn, small)
    assert code == 1
    assert checks["caffe"]["level"] == "failure"
    assert "CAFFE='/nowhere/caffe'" in checks["caffe"]["found"]
    assert "Set CAFFE to a caffe command that runs" in checks["caffe"]["found"]
    assert checks["disk"]["level"] == "ok"


def test_a_caffe_in_a_container_without_a_way_to_stop_it(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = program(tmp_path / "docker", "echo caffe version 1.0.0")
    monkeypatch.setenv("CAFFE", f"{docker} run caffe")
    code, checks = examined(metaqnn, small)
    assert code == 0
    assert checks["caffe"]["level"] == "warning"
    assert "CAFFE_STOP='docker kill" in checks["caffe"]["found"]


def test_a_gpu_is_asked_for_from_caffe_itself(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caffe = program(
        tmp_path / "caffe",
        'case "$*" in\n'
        "--version) echo caffe version 1.0.0;;\n"
        "'device_query --gpu=0') echo ok;;\n"
        "*) echo 'F0101 00:00:00.000000 1 common.cpp:152] Check failed: no such device' >&2\n"
        "exit 134;;\nesac",
    )
    monkeypatch.setenv("CAFFE", str(caffe))
    code, checks = examined(metaqnn, small, "--gpus", "0,3", "--slots-per-gpu", "2")
    assert code == 1
    assert checks["gpu 0"]["level"] == "ok"
    assert checks["gpu 3"]["level"] == "failure"
    assert checks["gpu 3"]["found"] == ("caffe device_query --gpu=3: Check failed: no such device")
    assert checks["gpu 3"]["remedy"] == "name GPUs that this caffe can use, or none"
    assert checks["cpu"]["found"].endswith("CPUs, 4 trials at a time")


def test_the_placeholders_of_a_container_are_filled_in(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is a run folder the nearest one above stands for it."""
    said = tmp_path / "said"
    docker = program(tmp_path / "docker", f'echo "$*" >> {said}; echo caffe version 1.0.0')
    monkeypatch.setenv("CAFFE", f"{docker} run --name {{name}} -v {{run}}:/run caffe")
    monkeypatch.setenv("CAFFE_STOP", f"{docker} kill {{name}}")
    code, checks = examined(metaqnn, small, "--gpus", "3")
    assert code == 0
    assert checks["gpu 3"]["level"] == "ok"
    pattern = rf"run --name (metaqnn-\w+) -v {re.escape(str(tmp_path))}:/run caffe (.+)"
    found = [re.fullmatch(pattern, line) for line in said.read_text().splitlines()]
    assert [match and match[2] for match in found] == ["--version", "device_query --gpu=3"]
    assert len({match[1] for match in found if match}) == 2


def test_a_caffe_on_another_host_before_there_is_a_run_folder(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caffe = program(tmp_path / "caffe", "echo caffe version 1.0.0")
    ssh = program(tmp_path / "ssh", 'shift\nexec sh -c "$*"')
    monkeypatch.setenv("CAFFE", f"{ssh} host cd {{run}} && exec {caffe}")
    monkeypatch.setenv("CAFFE_STOP", f"{ssh} host true")
    small.run = tmp_path / "my runs" / "first"
    code, checks = examined(metaqnn, small, "--gpus", "0")
    assert code == 0
    assert (checks["caffe"]["level"], checks["gpu 0"]["level"]) == ("ok", "ok")
    assert not small.run.parent.exists()


def test_a_runner_that_fails_is_quoted(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words are not those of Caffe's log."""
    runner = program(
        tmp_path / "runner",
        'case "$*" in *--version) echo caffe version 1.0.0;; '
        "*) echo could not select device driver >&2; exit 125;; esac",
    )
    monkeypatch.setenv("CAFFE", f"{runner} caffe")
    code, checks = examined(metaqnn, small, "--gpus", "0")
    assert code == 1
    assert checks["gpu 0"]["found"] == (
        "caffe device_query --gpu=0: could not select device driver"
    )


@pytest.mark.parametrize(
    ("words", "unit", "devices", "flop_per_second", "slots"),
    [
        ([], "years", "2 CPUs does 100 GFLOP/s", 2 * 100e9, 1),
        (["--cpu-slots", "2"], "years", "2 CPUs does 100 GFLOP/s", 2 * 100e9, 2),
        (
            ["--gpus", "0,1", "--slots-per-gpu", "2"],
            "days",
            "2 GPUs does 10,000 GFLOP/s",
            2 * 10e12,
            4,
        ),
    ],
)
def test_the_cost_of_a_search_is_told_where_its_data_cannot_be_had(
    metaqnn: Any,
    small: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    unit: str,
    devices: str,
    flop_per_second: float,
    slots: int,
) -> None:
    """However many trials run at a time, they share the machine; each has two processes of 3 s."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    small.file = "cifar10"
    said = metaqnn(*command(small, *words), "--budget", "paper", "--json")
    assert "failure" in [x["level"] for x in said.json if x["check"] == "data"]
    (finding,) = (x for x in said.json if x["check"] == "estimate")
    found = re.fullmatch(
        r"2,700 models, 20 epochs of 45,000 images each: (\S+) FLOP, up to \S+ [GT]B of disk; "
        rf"about (\S+) {unit} if each of {re.escape(devices)} \(assumed, a search measures it\)",
        finding["found"],
    )
    assert found, finding
    seconds = float(found[1]) / flop_per_second + 2700 * 2 * 3 / slots
    day = 86400
    assert float(found[2]) == pytest.approx(
        seconds / (day if unit == "days" else 365.25 * day), rel=0.06
    )
    long = seconds > 30 * day
    assert finding["level"] == ("warning" if long else "ok")
    assert ("YES=1" in finding["remedy"]) is long


def test_a_disk_with_too_little_space_is_a_warning(
    metaqnn: Any, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk stops a search but loses nothing."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    code, checks = examined(metaqnn, small)
    assert code == 0
    assert checks["disk"]["level"] == "warning"
    assert checks["disk"]["found"].startswith("1 kB free, a whole search may need ")
    assert "name another folder with RUN= (--run)" in checks["disk"]["remedy"]


def test_a_folder_of_user_files_that_is_not_there(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "typo"))
    code, checks = examined(metaqnn, small)
    assert code == 1
    assert checks["data"]["found"] == f"DATA_DIR={tmp_path / 'typo'} is no folder"


def test_a_folder_of_user_files_without_one_of_them(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    code, checks = examined(metaqnn, small)
    assert code == 1
    assert "has no train-images-idx3-ubyte" in checks["data"]["found"]


def test_a_folder_of_user_files_without_one_of_the_final_trainings(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search on SVHN reads its train part, the final trainings its extra part as well."""
    for part in ("train", "test"):
        (tmp_path / f"{part}_32x32.mat").write_bytes(b"")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    small.file = "svhn"
    said = metaqnn(*command(small, "--budget", "quick"), "--json")
    assert said.code == 1
    found = [x["found"] for x in said.json if x["check"] == "data"]
    assert f"DATA_DIR={tmp_path} has train_32x32.mat, test_32x32.mat" in found
    assert any("has no extra_32x32.mat" in line for line in found)


def test_prepared_data_whole_and_damaged(metaqnn: Any, finished: Any, tmp_path: Path) -> None:
    (folder,) = finished.data.glob("mnist-*")
    whole = {"check": "data", "level": "ok", "found": f"{folder} is complete", "remedy": ""}
    assert whole in metaqnn(*command(finished), "--json").json
    finished.data = shutil.copytree(finished.data, tmp_path / "copy")
    (folder,) = finished.data.glob("mnist-*")
    shutil.rmtree(folder / "train.lmdb")
    code, checks = examined(metaqnn, finished)
    assert code == 1
    assert checks["data"]["level"] == "failure"
    assert str(folder) in checks["data"]["found"]


def test_a_run_folder_that_cannot_be_made(metaqnn: Any, small: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    small.run = tmp_path / "file" / "run"
    code, checks = examined(metaqnn, small)
    assert code == 1
    assert checks["permissions"]["found"] == f"run folder: {tmp_path / 'file'} cannot be written"
    assert checks["permissions"]["remedy"] == "choose another"


def test_a_run_that_is_under_way(metaqnn: Any, finished: Any) -> None:
    with locked(finished.run):
        code, checks = examined(metaqnn, finished)
    assert code == 0
    assert checks["run"]["level"] == "warning"
    assert "is being run by process" in checks["run"]["found"]
    assert checks["run"]["remedy"] == "`metaqnn stop` ends it"
    assert "run" not in examined(metaqnn, finished)[1]


def test_a_lock_that_cannot_be_read(metaqnn: Any, finished: Any) -> None:
    (finished.run / LOCK_FILE).unlink()
    (finished.run / LOCK_FILE).mkdir()
    code, checks = examined(metaqnn, finished)
    assert code == 1
    assert checks["run"]["found"] == f"{finished.run / LOCK_FILE} cannot be read: Is a directory"


def test_gpus_that_are_no_numbers(metaqnn: Any, small: Any) -> None:
    refusal = metaqnn("doctor", small.file, "--budget", "smoke", "--gpus", "0;1").refusal
    assert refusal == "GPUs are numbers such as 0,1, not '0;1'"


@pytest.mark.parametrize(
    ("library", "runs"),
    [
        ("_caffe.so", "`caffe-torch python` runs scripts with real pycaffe in {folder}/caffe"),
        (None, "`caffe-torch python` runs scripts with the embedded pycaffe, caffe_torch "),
    ],
    ids=["a real one", "a placeholder without Caffe's library"],
)
def test_which_pycaffe_runs(
    library: str | None,
    runs: str,
    metaqnn: Any,
    small: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = tmp_path / "caffe"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if library:
        (package / library).write_bytes(b"")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _, checks = examined(metaqnn, small)
    assert checks["pycaffe"]["level"] == "ok"
    assert checks["pycaffe"]["found"].startswith(runs.format(folder=tmp_path))


def test_no_pycaffe_at_all(
    metaqnn: Any, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run needs one; what `caffe-torch python` says is passed on."""
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import sys; sys.modules['torch'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _, checks = examined(metaqnn, small)
    assert checks["pycaffe"]["level"] == "ok"
    assert checks["pycaffe"]["found"].startswith("none is needed, and none runs: ")
    assert "the embedded one needs PyTorch" in checks["pycaffe"]["found"]
