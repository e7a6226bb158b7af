"""Training images per second: the embedded `caffe-torch`, real Caffe, a plain PyTorch loop.

Three nets of the paper's spaces (`engine_runs.NETS`), ELU, Adam, the same prototxt and LMDB, the
same threads. Seconds are those between the first and the last iteration, so start-up counts for
none; start-up and peak resident size are printed beside. Real Caffe is the one under
CAFFE_PREFIX, else under `.caffe`; without it, and on a GPU, that variant is left out. `--at-once`
trains several processes side by side and adds their rates up.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from engine_runs import EMBEDDED, NETS, PLAIN, REAL, Measured, real_caffe, start, write_inputs
from side_by_side import Comparison, interleave, machine, parser, positive, show, summarize

PRECISIONS = ("fp32", "tf32", "bf16")


def matmul_peak(device: str, precision: str, threads: int, size: int) -> float:
    """FLOP per second of the fastest of several large matrix products."""
    import torch

    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.rand(size, size, device=device).to(kind)
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        for _ in range(4):
            a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 4 * 2 * size**3 / best


class Utilization:
    """The share of time in which the GPU was busy, as nvidia-smi samples it, in a `with`."""

    def __init__(self, gpu: int | None) -> None:
        self._gpu, self.samples = gpu, list[float]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        query = ["nvidia-smi", f"--id={self._gpu}", "--query-gpu=utilization.gpu"]
        while not self._stop.wait(0.5):
            done = subprocess.run(
                [*query, "--format=csv,noheader,nounits"], capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            if done.returncode == 0 and done.stdout.strip().isdigit():
                self.samples.append(float(done.stdout))

    def __enter__(self) -> Utilization:
        if self._gpu is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    @property
    def highest(self) -> float:
        """The largest sample, in percent; 0 without one."""
        return max(self.samples, default=0.0)


def variants_here(args: argparse.Namespace) -> list[str]:
    """Which variants can run; what cannot is told on stderr."""
    if args.gpu is not None:
        return [EMBEDDED, PLAIN]
    if real_caffe() is None:
        print("no real Caffe here: that variant is left out (make caffe)", file=sys.stderr)
        return [EMBEDDED, PLAIN]
    return [EMBEDDED, REAL, PLAIN]


def compare(name: str, precision: str, at_once: int, args: argparse.Namespace) -> list[Comparison]:
    """Measure one net in one precision, `at_once` processes of each variant."""
    net = NETS[name]
    found: dict[str, list[Measured]] = {}
    busy: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(i) for i in range(at_once)]
        for folder in folders:
            folder.mkdir()
            write_inputs(folder, net, args.batch, args.iterations, args.gpu is not None)

        def seconds(variant: str) -> float:
            with Utilization(args.gpu) as utilization:
                processes = [
                    start(variant, folder, net, args.batch, args.iterations, args.threads,
                          args.gpu, precision, real_caffe())
                    for folder in folders
                ]  # fmt: skip
                done = [process.finish() for process in processes]
            found.setdefault(variant, []).extend(done)
            busy.setdefault(variant, []).append(utilization.highest)
            return at_once / sum(1 / one.seconds for one in done)  # rates add up

        names = variants_here(args)  # real Caffe computes in fp32, whatever stands beside it
        measured = interleave({v: (lambda v=v: seconds(v)) for v in names}, args.runs)
    device = "cpu" if args.gpu is None else f"cuda:{args.gpu}"
    peak = matmul_peak(device, precision, args.threads, args.matrix)
    title = f"net {name}, {precision}, {args.iterations} iterations of {args.batch} images, "
    title += f"{args.threads} threads, {device}, {at_once} at once"
    images = args.iterations * args.batch * at_once
    comparisons = []
    for other in names[1:]:
        pair = [{key: run[key] for key in (EMBEDDED, other)} for run in measured]
        result = summarize(f"{title}: {EMBEDDED} and {other}", pair, (other, EMBEDDED))
        for key, value in result.medians.items():
            runs = found[key]
            rate = images / value
            result.details[f"images/s, {key}"] = rate
            result.details[f"share of the matmul peak, {key}"] = rate * net.training_flop / peak
            result.details[f"peak MB, {key}"] = max(one.peak for one in runs) / 1e6
            result.details[f"seconds to the first iteration, {key}"] = statistics.median(
                one.start_up for one in runs
            )
            if args.gpu is not None:
                result.details[f"busiest sample of the GPU in %, {key}"] = max(busy[key])
        comparisons.append(result)
    return comparisons


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=5)
    cores = machine()["cores"]
    options.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    options.add_argument("--threads", type=positive, default=cores, help="default: all cores")
    options.add_argument("--iterations", type=positive, default=10, help="timed; default 10")
    options.add_argument("--batch", type=positive, default=128, help="images; default 128")
    options.add_argument("--gpu", type=int, help="a CUDA device's id; default: the CPU")
    options.add_argument("--at-once", nargs="+", type=positive, default=[1], metavar="N")
    options.add_argument("--matrix", type=positive, default=2048, help="side, for the peak")
    args = options.parse_args()
    if machine()["torch"] is None:
        raise SystemExit("PyTorch is not installed: run `make setup`")
    comparisons = [
        comparison
        for name in args.nets
        for precision in args.precision
        for at_once in args.at_once
        for comparison in compare(name, precision, at_once, args)
    ]
    show(comparisons, args.json)


if __name__ == "__main__":
    main()
