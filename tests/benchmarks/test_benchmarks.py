"""Every benchmark runs at a tiny size, and its JSON has the documented fields."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FIELDS = {"name", "ratio", "ratio_of", "medians", "runs", "machine", "details"}


def run(name: str, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run a benchmark; an environment variable given as None is taken out."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), "--runs", "1", *arguments],
        env={key: value for key, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )


def measured(name: str, *arguments: str, **environment: str | None) -> list[dict[str, Any]]:
    """The comparisons of a benchmark's JSON, their common fields checked."""
    done = run(name, "--json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    comparisons: list[dict[str, Any]] = json.loads(done.stdout)
    for comparison in comparisons:
        assert set(comparison) == FIELDS
        assert comparison["runs"] == 1
        assert set(comparison["machine"]) == {"cpu", "cores", "python", "numpy", "torch"}
        assert all(seconds >= 0 for seconds in comparison["medians"].values())
        top, bottom = comparison["ratio_of"].split(" / ")
        medians = comparison["medians"]  # of one run: the ratio is theirs
        assert comparison["ratio"] == pytest.approx(medians[top] / medians[bottom])
    return comparisons


def test_agent() -> None:
    whole, quarters, replays = measured("agent", "--share", "150", "--depth", "5", "--replays", "9")
    assert whole["details"]["models"] == 10 + 9  # of ε = 1, and one of every other ε
    assert whole["details"]["samples"] >= 19
    assert whole["details"]["bytes of the replay memory"] > 0
    assert set(whole["medians"]) == {"sampling", "replay", "SQLite"}
    assert len(quarters["medians"]) == 4
    assert set(replays["medians"]) == {"stored walks", "parsed and walked anew"}


def test_log_parser_alone() -> None:
    (only,) = measured("log_parser", "--lines", "300", PARSE_LOG=None)
    assert set(only["medians"]) == {"parse_columns", "parse_events"}


def test_log_parser_beside_another_script(tmp_path: Path) -> None:
    script = tmp_path / "parse_log.py"
    script.write_text("def parse_log(path):\n    return open(path).read()\n", encoding="utf-8")
    found = measured("log_parser", "--lines", "300", PARSE_LOG=str(script))
    assert [c["ratio_of"] for c in found] == [
        "Caffe's parse_log.py / parse_columns",
        "Caffe's parse_log.py / parse_events",
    ]


def test_a_script_that_cannot_be_loaded_is_named_in_one_line(tmp_path: Path) -> None:
    done = run("log_parser", "--lines", "300", PARSE_LOG=str(tmp_path / "none.py"))
    assert done.returncode == 1
    assert re.fullmatch(r"PARSE_LOG=\S+none\.py cannot be loaded .*\n", done.stderr)


ENGINE = ("--nets", "i", "--batch", "2", "--iterations", "2", "--threads", "1", "--matrix", "64")


def test_engine_without_real_caffe(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (plain,) = measured("engine", *ENGINE, CAFFE_PREFIX=str(tmp_path))
    assert set(plain["medians"]) == {"caffe-torch", "plain PyTorch"}
    for variant, seconds in plain["medians"].items():
        assert plain["details"][f"images/s, {variant}"] == pytest.approx(4 / seconds)
        assert plain["details"][f"peak MB, {variant}"] > 50
        assert plain["details"][f"seconds to the first iteration, {variant}"] > 0


def test_engine_trains_several_at_once_and_adds_their_rates_up(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    sizes = (*ENGINE, "--at-once", "2")
    (plain,) = measured("engine", *sizes, CAFFE_PREFIX=str(tmp_path))
    for variant, seconds in plain["medians"].items():
        assert plain["details"][f"images/s, {variant}"] == pytest.approx(8 / seconds)


@pytest.mark.conformance
def test_engine_beside_real_caffe(caffe_prefix: Path) -> None:
    pytest.importorskip("torch")
    found = measured("engine", *ENGINE, CAFFE_PREFIX=str(caffe_prefix.resolve()))
    assert {c["ratio_of"].split(" / ")[0] for c in found} == {"plain PyTorch", "real Caffe"}


def test_engine_counts_the_flop_of_training_as_published(reference: Path) -> None:
    """The GFLOP per image that the reference states for the three nets."""
    facts = (reference / "caffe-facts.md").read_text(encoding="utf-8")
    stated = re.search(r"Training GFLOP per image: i (\S+), ii (\S+), iii (\S+?)\. ", facts)
    assert stated
    code = "import engine_runs; print(*(n.training_flop for n in engine_runs.NETS.values()))"
    environment = {**os.environ, "PYTHONPATH": f"{BENCHMARKS}:{BENCHMARKS.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    for ours, theirs in zip(done.stdout.split(), stated.groups(), strict=True):
        assert float(ours) / 1e9 == pytest.approx(float(theirs), rel=2e-3)
