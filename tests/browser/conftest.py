"""A small run with a report, and headless Chromium to look at it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reproduce import estimate
from reproduce.experiments.load import experiment_path
from tests.reproduce.commands.conftest import FAKE, IMAGES, digits, metaqnn

__all__ = ["digits"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program: CHROMIUM, else one on the PATH (tools/get_chromium.sh puts it there)."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    for name in filter(None, names):
        if found := shutil.which(name):
            return found
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail("REQUIRE_BROWSER=1, but Chromium is missing (tools/get_chromium.sh)")
    pytest.skip("Chromium is not on this machine")


# Of a module, not a session: Playwright keeps an event loop running in this thread.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Headless Chromium with a profile of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory: pytest.TempPathFactory, digits: Path, chromium: str) -> Path:
    """A finished run of the scripted `caffe`, with a restart, a crash and final trainings."""
    folder = tmp_path_factory.mktemp("reported")
    text = experiment_path("mnist").read_text()
    for old, new in (
        ("train_images = 60000", f"train_images = {IMAGES}"),
        ("test_images = 10000", "test_images = 100"),
        ("validation = 5000", "validation = 100"),
        ("train_subset = 1280", "train_subset = 128"),
        ("schedule = [[1.0, 2], [0.1, 1]]", "schedule = [[1.0, 4], [0.5, 2]]"),
        ("depth = 12", "depth = 5"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    file, script = folder / "mnist.toml", folder / "script.json"
    file.write_text(text)
    # Two processes of the check come first, then two of each net, three of one that is restarted.
    record = folder / "processes.jsonl"
    script.write_text(
        f'{{"record": "{record}", "processes": {{"6": {{"chance_above": 0}}, '
        '"11": {"exit_at": [0, 3]}, "12": {"exit_at": [0, 3]}}}'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "SAMPLES", 50)
        patch.setenv("CAFFE", shlex.join([sys.executable, "-I", "-S", str(FAKE)]))
        patch.setenv("FAKE_CAFFE", str(script))
        patch.setenv("DATA_DIR", str(digits))
        for name in ("YES", "CAFFE_STOP"):
            patch.delenv(name, raising=False)
        run, data = folder / "run", folder / "data"
        words = ["--seed", "5", "--run", run, "--data", data, "--cache", data / "cache"]
        said = metaqnn("reproduce", file, "--budget", "smoke", *words)
    assert said.code == 0, said
    said = metaqnn("report", run)  # with the audit
    assert said.code == 0, said
    return run
