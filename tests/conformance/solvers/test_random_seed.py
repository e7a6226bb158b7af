"""What a seed fixes, in each of the two programs: a whole run, but not the other's numbers."""

from pathlib import Path

import pytest

from tests.conformance.commands import Command
from tests.conformance.solvers.runs import RULES, log_lines

pytestmark = pytest.mark.conformance

# Chance in the weights, the masks and the crops.
DROPOUT = 'layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }\nlayer { name: "fc1"'


@pytest.mark.parametrize("program", ["embedded", "real"])
def test_a_seed_fixes_the_run(program: str, folder: Path, request: pytest.FixtureRequest) -> None:
    """The same seed gives the same losses, another seed others."""
    command: Command = request.getfixturevalue(program)
    net = (folder / "net.prototxt").read_text().replace('layer { name: "fc1"', DROPOUT)
    net = net.replace("scale: 0.00390625", "scale: 0.00390625 crop_size: 24 mirror: true")
    (folder / "chance.prototxt").write_text(net)
    losses = []
    for seed in (3, 3, 4):
        (folder / "seeded.prototxt").write_text(
            f'net: "chance.prototxt" {RULES["SGD"]} lr_policy: "fixed" max_iter: 10 display: 1 '
            f"snapshot_after_train: false random_seed: {seed}"
        )
        run = command("train", "-solver", "seeded.prototxt", cwd=folder)
        assert run.status == 0, run.log[-1000:]
        losses.append(log_lines(run.log, r"solver\.cpp:(239|258)")[1].tolist())
    assert losses[0] == losses[1]
    assert len(losses[0]) > 20
    assert losses[0] != losses[2]
