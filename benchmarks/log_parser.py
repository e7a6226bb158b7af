"""Seconds to read a long Caffe log: `parse_columns` and `parse_events` against Caffe's own script.

PARSE_LOG names Caffe's tools/extra/parse_log.py, which is loaded from there and called in this
process, so that all variants are timed without the start of a Python. The script's `parse_log` is
timed alone, without the two CSV files that its command writes. (Caffe 1.0's has Python 2's print
statement in the function that writes them: run 2to3 on a copy of it and of extract_seconds.py,
which leaves `parse_log` as it is.) Without it the package's own seconds stand alone.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from side_by_side import interleave, parser, positive, show, summarize

from reproduce.training.log_parser import parse_columns, parse_events

LINES = 66_599
_NET = """\
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  convolution_param {
    num_output: 20
    kernel_size: 5
  }
}
"""


def write_log(path: Path, lines: int) -> None:
    """Write a log as Caffe 1.0 prints it: the head, then training with a test now and then."""
    seconds = 0.0
    out: list[str] = []

    def say(where: str, message: str) -> None:
        nonlocal seconds
        seconds += 0.013
        minutes, rest = divmod(seconds, 60)
        hours, minutes = divmod(int(minutes), 60)
        stamp = f"I1124 {hours % 24:02d}:{minutes:02d}:{rest:09.6f} 10291"
        out.append(f"{stamp} {where}] {message}")

    say("caffe.cpp:197", "Use CPU.")
    say("solver.cpp:45", "Initializing solver from parameters: ")
    out += ["test_iter: 100", "base_lr: 0.001", 'lr_policy: "fixed"', "max_iter: 10000000"]
    say("net.cpp:53", "Initializing net from parameters: ")
    out += _NET.splitlines() * 10
    say("solver.cpp:57", "Solver scaffolding done.")
    say("caffe.cpp:239", "Starting Optimization")
    say("solver.cpp:289", "Solving generated")  # Caffe's script counts seconds from here
    say("solver.cpp:290", "Learning Rate Policy: fixed")
    iteration = 0
    while len(out) < lines:
        loss = 2.3 / (1 + iteration / 1000)
        if iteration % 1000 == 0:
            say("solver.cpp:347", f"Iteration {iteration}, Testing net (#0)")
            accuracy = 1 - loss / 2.6
            say("solver.cpp:414", f"    Test net output #0: accuracy = {accuracy:.6g}")
            say("solver.cpp:414", f"    Test net output #1: loss = {_loss(loss)}")
        speed = "(4.93145 iter/s, 20.278s/100 iters)"
        say("solver.cpp:239", f"Iteration {iteration} {speed}, loss = {loss:.6g}")
        say("solver.cpp:258", f"    Train net output #0: loss = {_loss(loss)}")
        say("sgd_solver.cpp:112", f"Iteration {iteration}, lr = 0.001")
        iteration += 100
    path.write_text("\n".join(out[:lines]) + "\n", encoding="utf-8")


def _loss(loss: float) -> str:
    return f"{loss:.6g} (* 1 = {loss:.6g} loss)"


def caffes_parser(script: Path) -> Callable[[Path], object]:
    """`parse_log` of Caffe's script.

    Raises:
        SystemExit: with one line, if the script cannot be loaded.
    """
    sys.path.insert(0, str(script.parent))  # it imports its neighbour extract_seconds
    try:
        spec = importlib.util.spec_from_file_location("caffe_parse_log", script)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        parse_log = module.parse_log
    except (ImportError, OSError, SyntaxError, AttributeError) as error:
        raise SystemExit(
            f"PARSE_LOG={script} cannot be loaded ({error}); it must name Caffe's "
            "tools/extra/parse_log.py, beside its extract_seconds.py, in Python 3's syntax "
            "(Caffe 1.0's needs `2to3 -w` on a copy first)"
        ) from None
    finally:
        sys.path.pop(0)
    return lambda path: parse_log(str(path))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=5)
    options.add_argument("--lines", type=positive, default=LINES, help=f"default {LINES:,}")
    args = options.parse_args()
    readers: dict[str, Callable[[Path], object]] = {
        "parse_columns": parse_columns,
        "parse_events": parse_events,
    }
    script = os.environ.get("PARSE_LOG")
    if script:
        readers["Caffe's parse_log.py"] = caffes_parser(Path(script))
    else:
        print("PARSE_LOG is not set: Caffe's own parse_log.py is left out", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        write_log(log, args.lines)

        def timed(reader: Callable[[Path], object]) -> Callable[[], float]:
            def run() -> float:
                began = time.perf_counter()
                reader(log)
                return time.perf_counter() - began

            return run

        variants = {name: timed(reader) for name, reader in readers.items()}
        measured = interleave(variants, args.runs)
        size = float(log.stat().st_size)
    name = f"log of {args.lines:,} lines"
    details = {"bytes": size}
    ours = ("parse_columns", "parse_events")
    if script:
        comparisons = [
            summarize(f"{name}, {own}", measured, ("Caffe's parse_log.py", own), details)
            for own in ours
        ]
    else:
        comparisons = [summarize(name, measured, ("parse_events", "parse_columns"), details)]
    show(comparisons, args.json)


if __name__ == "__main__":
    main()
