"""A whole run of the MNIST experiment, cut down, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from reproduce.search.replay_memory import read_replay_memory
from reproduce.training.log_parser import TestOutput, parse_events

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE = REPOSITORY / "tests" / "fake_caffe.py"
METAQNN = [sys.executable, "-m", "reproduce.cli"]


class Run:
    """A command line that runs the experiment in a folder of its own."""

    def __init__(self, folder: Path, experiment: Path, digits: Path, caffe: str | None) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if k not in ("CAFFE", "DATA_DIR")}
        self.env |= {"DATA_DIR": str(digits), "PYTHONPATH": str(REPOSITORY)}
        if caffe:
            self.env["CAFFE"] = caffe
        self.command = [*METAQNN, "reproduce", str(experiment), "--budget", "smoke"]
        self.command += [
            "--seed",
            "5",
            "--run",
            str(folder / "run"),
            "--data",
            str(folder / "data"),
        ]

    def start(self) -> subprocess.Popen[str]:
        self.folder.mkdir(exist_ok=True)
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, timeout: float = 300) -> str:
        process = self.start()
        output, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, output
        return output

    def record(self) -> tuple[object, ...]:
        """The replay memory without its times."""
        with read_replay_memory(self.folder / "run" / "replay.sqlite") as memory:
            trials = [
                (t.architecture, t.epsilon, t.outcome, t.reward, t.result and t.result.accuracies)
                for t in memory.trials()
            ]
            finals = {key: value[1].accuracies for key, value in memory.finals().items()}
            state = memory.get("random_state")
            return trials, memory.samples(), memory.q_values(), state, finals

    def trained_iterations(self) -> list[str]:
        """Every epoch that any process of the search trained: a line per (trial, iteration)."""
        lines = []
        for log in sorted((self.folder / "run" / "trials").glob("*/caffe_*.log")):
            events = [e for e in parse_events(log) if isinstance(e, TestOutput)]
            lines += [f"{log.parent.name} {e.iteration}" for e in events if e.iteration]
        return lines
