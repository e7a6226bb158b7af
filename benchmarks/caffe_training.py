"""Training images per second: the embedded `caffe-torch`, real Caffe, a plain PyTorch loop.

All train net i of the paper's appendix, `[C(240,7,1), P(3,2), C(120,5,2), FC(50), SM(10)]`, with
VALID padding and ELU, in float32 with Adam and the same number of threads, on generated 1×28×28
images. The two commands read the same prototxt and LMDB; their seconds are those between two
time stamps of their logs, so start-up and the first iteration count for neither. The plain loop
has its images in memory, and its first iteration does not count either. Real Caffe is the one
under CAFFE_PREFIX, else under `.caffe`; without it that variant is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from side_by_side import interleave, machine, parser, positive, show, summarize

from data_prep.lmdb_writer import write_lmdb
from prototxt_gen.net import Activation, DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.shapes import Padding
from prototxt_gen.solver import TrainingScheme, solver_text
from reproduce.training.log_parser import TrainLoss, parse_events

NET = "[C(240,7,1), P(3,2), C(120,5,2), FC(50), SM(10)]"
IMAGE = (1, 28, 28)
EMBEDDED, REAL, PLAIN = "caffe-torch", "real Caffe", "plain PyTorch"


def write_inputs(folder: Path, batch: int, iterations: int) -> None:
    """Write `lmdb`, `net.prototxt` and `solver.prototxt`; the first iteration is a warm-up."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(4 * batch, *IMAGE), dtype=np.uint8)
    labels = rng.integers(10, size=len(images))
    write_lmdb(folder / "lmdb", [(images, labels)])
    data = DataSource("lmdb", "lmdb", train_batch=batch, test_batch=batch, scale=1 / 256)
    style = NetStyle(padding=Padding.VALID, activation=Activation.ELU)
    net = net_text(parse(NET), IMAGE, data, style, "benchmark")
    (folder / "net.prototxt").write_text(net, encoding="utf-8")
    scheme = TrainingScheme(
        solver_type="Adam",
        base_lr=0.001,
        momentum2=0.999,
        max_iter=iterations + 1,
        test_iter=1,
        test_interval=10**9,
        test_initialization=False,
        display=iterations,
        random_seed=0,
        solver_mode="CPU",
    )
    solver = solver_text(scheme, net="net.prototxt", snapshot_prefix="snapshot")
    (folder / "solver.prototxt").write_text(solver, encoding="utf-8")


def command_seconds(command: list[str], folder: Path, threads: int, iterations: int) -> float:
    """Seconds of the iterations after the first, by the log's own time stamps.

    Raises:
        SystemExit: with the log's end, if the command fails.
    """
    counts = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)
    )
    log = folder / "train.log"
    with log.open("wb") as file:
        done = subprocess.run(
            [*command, "train", "--solver=solver.prototxt"],
            cwd=folder,
            env=os.environ | counts | {"GLOG_logtostderr": "1"},
            stdout=subprocess.DEVNULL,
            stderr=file,
            check=False,
        )
    stamps = {e.iteration: e.seconds for e in parse_events(log) if isinstance(e, TrainLoss)}
    first, last = stamps.get(0), stamps.get(iterations)
    if done.returncode or first is None or last is None:
        end = log.read_text(encoding="utf-8", errors="replace")[-500:]
        raise SystemExit(f"{command} failed (exit code {done.returncode}); its log ends:\n{end}")
    return last - first


def plain_seconds(batch: int, threads: int, iterations: int) -> float:
    """Seconds of the same training as one would write it in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 240, 7),
        nn.ELU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(240, 120, 5, stride=2),
        nn.ELU(inplace=True),
        nn.Flatten(),
        nn.Linear(120 * 4 * 4, 50),
        nn.ELU(inplace=True),
        nn.Linear(50, 10),
    )
    images, labels = torch.rand(4 * batch, *IMAGE), torch.randint(10, (4 * batch,))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    began = 0.0
    for iteration in range(iterations + 1):
        start = iteration % 4 * batch
        optimizer.zero_grad()
        scores = model(images[start : start + batch])
        loss = criterion(scores, labels[start : start + batch])
        loss.backward()
        optimizer.step()
        if iteration == 0:
            began = time.perf_counter()
    return time.perf_counter() - began


def real_caffe() -> Path | None:
    """The real `caffe` command, if there is one."""
    repository = Path(__file__).resolve().parent.parent
    caffe = Path(os.environ.get("CAFFE_PREFIX", repository / ".caffe")) / "wrap" / "caffe"
    return caffe.resolve() if caffe.is_file() else None


def variants_in(folder: Path, args: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """What can be run here; what cannot is told on stderr."""
    embedded, caffe = [sys.executable, "-m", "caffe_torch"], real_caffe()
    size: tuple[int, int] = (args.threads, args.iterations)
    variants: dict[str, Callable[[], float]] = {
        EMBEDDED: lambda: command_seconds(embedded, folder, *size),
        PLAIN: lambda: plain_seconds(args.batch, *size),
    }
    if caffe is None:
        print("no real Caffe here: that variant is left out (make caffe)", file=sys.stderr)
    else:
        variants[REAL] = lambda: command_seconds([str(caffe)], folder, *size)
    return variants


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=3)
    cores = machine()["cores"]
    options.add_argument("--threads", type=positive, default=cores, help="default: all cores")
    options.add_argument("--iterations", type=positive, default=10, help="timed; default 10")
    options.add_argument("--batch", type=positive, default=128, help="images; default 128")
    args = options.parse_args()
    if machine()["torch"] is None:
        raise SystemExit("PyTorch is not installed: run `make setup`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, args.batch, args.iterations)
        measured = interleave(variants_in(folder, args), args.runs)
    images = args.iterations * args.batch
    title = f"{args.iterations} iterations of {args.batch} images, {args.threads} threads"
    comparisons = []
    for other in [key for key in measured[0] if key != EMBEDDED]:
        pair = [{key: run[key] for key in (EMBEDDED, other)} for run in measured]
        found = summarize(f"{title}: {EMBEDDED} and {other}", pair, (other, EMBEDDED))
        rates = {f"images/s, {key}": images / value for key, value in found.medians.items()}
        found.details.update(rates)
        comparisons.append(found)
    show(comparisons, args.json)


if __name__ == "__main__":
    main()
