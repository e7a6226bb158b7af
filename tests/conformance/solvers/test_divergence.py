"""A training that diverges: both go on and exit 0; with -die_on_nan ours says so and dies."""

from pathlib import Path

import pytest

from tests.conformance.commands import Command

pytestmark = pytest.mark.conformance


@pytest.fixture
def diverging(folder: Path) -> Path:
    """The folder, with a solver whose rate is far too high."""
    (folder / "diverging.prototxt").write_text(
        f'net: "{folder / "net.prototxt"}" base_lr: 1e9 lr_policy: "fixed" max_iter: 20 '
        'display: 1 snapshot_prefix: "diverged" random_seed: 1'
    )
    for path in folder.glob("diverged_iter_*"):
        path.unlink()
    return folder


@pytest.mark.parametrize("program", ["embedded", "real"])
def test_nobody_is_told(program: str, diverging: Path, request: pytest.FixtureRequest) -> None:
    command: Command = request.getfixturevalue(program)
    run = command("train", "-solver", "diverging.prototxt", cwd=diverging)
    assert run.status == 0, run.log[-1000:]
    losses = run.said(r"Iteration \d+ \(.*iters\), loss = (\S+)")
    assert losses[-1] in ("nan", "-nan", "87.3365")
    assert (diverging / "diverged_iter_20.caffemodel").is_file()


def test_die_on_nan(diverging: Path, embedded: Command) -> None:
    run = embedded("train", "-solver", "diverging.prototxt", "-die_on_nan", cwd=diverging)
    assert run.status == -6
    assert run.said(r"(Iteration \d+: the loss is -?nan and die_on_nan is set.*)", "F")
    assert "Traceback" not in run.log
    assert not list(diverging.glob("diverged_iter_*"))
