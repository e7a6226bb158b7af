#!/usr/bin/env python3
"""A scripted `caffe`: Caffe's flags, log, snapshots and deaths, without any training.

Usage: `fake_caffe.py train --solver=FILE [--snapshot=FILE] [--gpu=N]`,
`fake_caffe.py test --model=FILE --weights=FILE --iterations=N [--gpu=N]`, or `--version`.

The test accuracy and the losses are a function of the net's file, the random seed and the
iteration, so a resumed run prints what an uninterrupted one does. `test` prints `prob` and
`label_out` of each image, right in nine of ten. `$FAKE_CAFFE` names a JSON file
that scripts everything else; every key may be left out:

    record          file that gets a JSON line for each process: argv, cwd, pid, gpu, threads
    start_seconds   time before the first line of the log
    seconds         time that an iteration takes
    accuracies      the test accuracies after epochs 1, 2, … in place of the function
    chance_above    learning rates above this one give accuracy `chance` (0.1)
    nan_above       learning rates above this one give nan losses and accuracy 1
    nan_at          iteration from which the loss is nan (and the accuracy 1)
    no_display      print no training loss at all
    no_accuracy     test without an accuracy
    no_resume       begin at iteration 0 whatever --snapshot says
    log             [file, exit code, or a negative signal number]: print the file, then end
    signal_at       [iteration, signal number]: die by that signal
    exit_at         [iteration, exit code]: end without a word
    fatal_at        [iteration, message]: a line of severity F, then SIGABRT
    print_at        [iteration, text, exit code]: print a text on stderr, then end
    hang_at         iteration at which nothing more happens
    ignore_sigint   do not obey SIGINT
    torn_line_at    iteration whose line of loss is cut off, then SIGKILL
    torn_test_at    iteration whose test ends after its accuracy, then SIGKILL
    torn_model_at, torn_state_at    iteration whose snapshot is cut off, then SIGKILL
    cut_state_at    iteration whose solver state lacks its end; nothing is said
    unwritable_at   iteration whose snapshot cannot be opened: a line of severity F, SIGABRT
    full_at         iteration whose snapshot ends halfway: the same
    fill_disk_at    iteration at which the snapshot's small disk is filled up; then it is written
    exit_after      exit code after a complete run
    child           a helper process of its own that outlives this one
    daemon          the same in a session of its own
    processes       {"0": {…}, "1": {…}}: keys for the first process, the second, …; needs `record`
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

stopping = False


def on_sigint(number, frame):
    global stopping
    stopping = True


def load_script():
    path = os.environ.get("FAKE_CAFFE")
    script = json.loads(Path(path).read_text()) if path else {}
    number = 0
    if "record" in script:
        record = Path(script["record"])
        number = len(record.read_text().splitlines()) if record.exists() else 0
    return script | script.get("processes", {}).get(str(number), {})


def write_record(script, flags):
    if "record" in script:
        entry = {
            "argv": sys.argv[1:],
            "cwd": str(Path.cwd()),
            "pid": os.getpid(),
            "gpu": flags.get("gpu"),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "glog": os.environ.get("GLOG_logtostderr"),  # noqa: SIM112 (glog spells it so)
        }
        with Path(script["record"]).open("a") as file:
            file.write(json.dumps(entry) + "\n")


# The log; like glog, it does not mind a full disk


def put(text):
    data = text.encode()
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(2, data) :]


def say(place, message, severity="I", end="\n"):
    now = time.time()
    stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1e6):06d}"
    put(f"{severity}{stamp} {os.getpid():5d} {place}] {message}{end}")


def die(message, place="fake.cpp:1"):
    say(place, message, severity="F")
    put("*** Check failure stack trace: ***\n    @     0x7f0000000000  main\n")
    kill_self(signal.SIGABRT)


def kill_self(number):
    signal.signal(number, signal.SIG_DFL) if number not in (9, 19) else None
    os.kill(os.getpid(), number)
    time.sleep(60)


def number(value):
    return "-nan" if math.isnan(value) else f"{value:.6g}"


# Snapshots: protobuf's wire format, field by field


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(tag, value):
    if isinstance(value, int):
        return varint(tag << 3) + varint(value)
    return varint(tag << 3 | 2) + varint(len(value)) + value


def model_bytes(net):
    """Some weights of each layer of the net that learns."""
    blob = field(5, b"\0\0\x80\x3f" * 8)  # BlobProto.data, packed
    learns = re.findall(r'name: "([^"]*)"\s+type: "(Convolution|InnerProduct)"', net)
    learns = learns or [("ip", "InnerProduct")]  # a test's net of words
    layers = [
        field(100, field(1, name.encode()) + field(2, kind.encode()) + field(7, blob))
        for name, kind in learns
    ]
    return field(1, b"fake") + b"".join(layers)


def state_bytes(iteration, model):
    history = field(3, field(5, b"\0\0\0\0" * 8))
    return field(1, iteration) + field(2, model.encode()) + history + field(4, 0)


def read_iteration(path):
    """The first field of a solver state; 0x08 is its tag."""
    data = Path(path).read_bytes()
    if not data.endswith(field(4, 0)) or data[:1] != b"\x08":
        die(f"Check failed: ReadProtoFromBinaryFile(state_file.c_str(), &state) {path}")
    value, shift = 0, 0
    for byte in data[1:]:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return value


def fill_disk(folder):
    """Leave no space on the disk of a folder; only on one that is there for it."""
    if shutil.disk_usage(folder).total > 64e6:
        sys.exit(f"ERROR: {folder} lies on a large disk, which is not filled up")
    with contextlib.suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


def write_snapshot(script, prefix, iteration, net):
    model, state = (f"{prefix}_iter_{iteration}.{kind}" for kind in ("caffemodel", "solverstate"))
    files = [
        (model, model_bytes(net), "solver.cpp:464", "binary proto file", "torn_model_at"),
        (
            state,
            state_bytes(iteration, model),
            "sgd_solver.cpp:284",
            "solver state to binary proto file",
            "torn_state_at",
        ),
    ]
    if script.get("fill_disk_at") == iteration:
        fill_disk(Path(prefix).parent)
    for path, data, place, what, torn in files:
        to = "" if what.startswith("solver") else "to "
        say(place, f"Snapshotting {to}{what} {path}")
        if script.get("unwritable_at") == iteration:
            die("Check failed: proto.SerializeToOstream(&output) ", "io.cpp:72")
        half = data[: len(data) // 2]
        if script.get(torn) == iteration:
            Path(path).write_bytes(half)
            kill_self(signal.SIGKILL)
        if script.get("cut_state_at") == iteration and path == state:
            data = half
        try:
            Path(path).write_bytes(half)
            if script.get("full_at") == iteration:
                raise OSError
            Path(path).write_bytes(data)
        except OSError:
            die("Check failed: proto.SerializeToOstream(&output) ", "io.cpp:72")


# The numbers


class Numbers:
    def __init__(self, script, solver, net):
        self.script, self.epoch = script, int(solver["test_interval"])
        self.rate = float(solver["base_lr"])
        self.key = net + solver.get("random_seed", "-1")

    def noise(self, iteration):
        digest = hashlib.sha256(f"{self.key} {iteration}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32

    def is_nan(self, iteration):
        script = self.script
        return self.rate > script.get("nan_above", math.inf) or iteration >= script.get(
            "nan_at", math.inf
        )

    def loss(self, iteration):
        if self.is_nan(iteration):
            return math.nan
        return 2.3 / (1 + iteration / self.epoch) + 0.01 * self.noise(iteration)

    def accuracy(self, iteration):
        epoch = iteration // self.epoch
        if self.is_nan(iteration):
            return 1.0
        if self.rate > self.script.get("chance_above", math.inf):
            return self.script.get("chance", 0.1)
        if 0 < epoch <= len(self.script.get("accuracies", [])):
            return self.script["accuracies"][epoch - 1]
        return 0.95 - 0.6 * math.exp(-iteration / self.epoch) + 0.04 * self.noise(iteration)


# The program


def scripted_end(script, iteration):
    """What the script has Caffe do before it trains this iteration."""

    def due(key):
        value = script.get(key)
        at = value[0] if isinstance(value, list) else value
        return at == iteration

    if due("signal_at"):
        kill_self(script["signal_at"][1])
    if due("exit_at"):
        sys.exit(script["exit_at"][1])
    if due("fatal_at"):
        die(script["fatal_at"][1])
    if due("print_at"):
        put(script["print_at"][1] + "\n")
        os._exit(script["print_at"][2])
    if due("torn_line_at"):
        say("solver.cpp:239", f"Iteration {iteration} (1 iter/s, 1s/1 iters), loss = 0.", end="")
        kill_self(signal.SIGKILL)
    while due("hang_at") and not stopping:
        time.sleep(0.01)


def test(script, numbers, iteration):
    say("solver.cpp:347", f"Iteration {iteration}, Testing net (#0)")
    say("data_layer.cpp:73", "Restarting data prefetching from start.")
    accuracy, loss = numbers.accuracy(iteration), numbers.loss(iteration)
    if not script.get("no_accuracy"):
        say("solver.cpp:414", f"    Test net output #0: accuracy = {number(accuracy)}")
    if script.get("torn_test_at") == iteration:
        say("solver.cpp:414", "    Test net output #1: lo", end="")
        kill_self(signal.SIGKILL)
    text = number(loss)
    say("solver.cpp:414", f"    Test net output #1: loss = {text} (* 1 = {text} loss)")


def read_solver(path):
    try:
        text = Path(path).read_text()
    except OSError:
        die(f"Check failed: fd != -1 (-1 vs. -1) File not found: {path}", "io.cpp:36")
    found = re.findall(r'^ *(\w+): *(?:"((?:[^"\\\n]|\\.)*)"|(\S*))', text, re.MULTILINE)
    return {key: re.sub(r"\\(.)", r"\1", quoted) or plain for key, quoted, plain in found}


def train(script, flags):
    solver = read_solver(flags["solver"])
    say("caffe.cpp:197", "Use CPU." if "gpu" not in flags else f"Using GPUs {flags['gpu']}")
    say("solver.cpp:45", "Initializing solver from parameters: ")
    put(Path(flags["solver"]).read_text())
    net = Path(solver["net"]).read_text()
    numbers = Numbers(script, solver, net)
    max_iter, interval = int(solver["max_iter"]), int(solver["test_interval"])
    snapshot, display = int(solver.get("snapshot", "0")), int(solver.get("display", "1"))
    scripted_end(script, -1)
    iteration = 0
    if "snapshot" in flags:
        say("caffe.cpp:235", f"Resuming from {flags['snapshot']}")
        iteration = 0 if script.get("no_resume") else read_iteration(flags["snapshot"])
    say("caffe.cpp:239", "Starting Optimization")
    say("solver.cpp:289", "Solving fake")
    while iteration < max_iter:
        initial = solver.get("test_initialization", "true") == "true"
        if iteration % interval == 0 and (iteration > 0 or initial):
            test(script, numbers, iteration)
        scripted_end(script, iteration)
        if stopping:
            write_snapshot(script, solver["snapshot_prefix"], iteration, net)
            say("solver.cpp:311", "Optimization stopped early.")
            say("caffe.cpp:250", "Optimization Done.")
            return
        time.sleep(script.get("seconds", 0))
        if iteration % display == 0 and not script.get("no_display"):
            loss = number(numbers.loss(iteration))
            speed = "(1 iter/s, 1s/1 iters)"
            say("solver.cpp:239", f"Iteration {iteration} {speed}, loss = {loss}")
            output = f"    Train net output #0: loss = {loss} (* 1 = {loss} loss)"
            say("solver.cpp:258", output)
            say("sgd_solver.cpp:112", f"Iteration {iteration}, lr = {solver['base_lr']}")
        iteration += 1
        if snapshot and iteration % snapshot == 0:
            write_snapshot(script, solver["snapshot_prefix"], iteration, net)
    if not snapshot or iteration % snapshot:
        write_snapshot(script, solver["snapshot_prefix"], iteration, net)
    scripted_end(script, iteration)
    if iteration % interval == 0:
        test(script, numbers, iteration)
    say("solver.cpp:332", "Optimization Done.")
    say("caffe.cpp:250", "Optimization Done.")
    sys.exit(script.get("exit_after", 0))


LABELS = """
import json, lmdb, sys
import prototxt_gen.caffe_pb2 as caffe_pb2
with lmdb.open(sys.argv[1], readonly=True, lock=False) as env, env.begin() as transaction:
    print(json.dumps([caffe_pb2.Datum.FromString(v).label for _, v in transaction.cursor()]))
"""


def labels_of(source):
    """The labels of an LMDB of Datums, in the order of its keys.

    Read by another process, since this one may run without the packages that it takes.
    """
    command = [sys.executable, "-c", LABELS, source]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def tell(flags):
    """`caffe test` of a net that leaves prob, label_out and accuracy: one line for each value."""
    net = Path(flags["model"]).read_text()
    source = re.search(r'source: "([^"]*)"', net)[1]
    batch = int(re.search(r"batch_size: (\d+)", net)[1])
    classes = int(re.findall(r"num_output: (\d+)", net)[-1])
    labels, seed = labels_of(source), int(hashlib.sha256(net.encode()).hexdigest()[:4], 16)
    means = []
    for number in range(int(flags["iterations"])):
        of_batch = [labels[(number * batch + i) % len(labels)] for i in range(batch)]
        right = [(seed + 7 * (number * batch + i)) % 10 > 0 for i in range(batch)]
        means.append(sum(right) / batch)
        say("caffe.cpp:304", f"Batch {number}, accuracy = {means[-1]:g}")
        for label in of_batch:
            say("caffe.cpp:304", f"Batch {number}, label_out = {label}")
        for label, good in zip(of_batch, right, strict=True):
            chosen = label if good else (label + 1) % classes
            for one in range(classes):
                value = 0.5 if one == chosen else 0.5 / (classes - 1)
                say("caffe.cpp:304", f"Batch {number}, prob = {value:g}")
    say("caffe.cpp:309", "Loss: 0")
    say("caffe.cpp:321", f"accuracy = {sum(means) / len(means):g}")


def main():
    words = sys.argv[1:]
    if "--version" in words:
        print("caffe version 1.0.0-fake")
        return
    flags = {}
    for word in words[1:]:
        key, _, value = word.lstrip("-").partition("=")
        if key not in {"solver", "snapshot", "gpu", "weights", "model", "iterations"}:
            sys.exit(f"ERROR: unknown command line flag '{key}'")
        flags[key] = value
    script = load_script()
    write_record(script, flags)
    signal.signal(signal.SIGINT, signal.SIG_IGN if script.get("ignore_sigint") else on_sigint)
    for key in ("child", "daemon"):
        if script.get(key):
            sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
            subprocess.Popen(sleeper, start_new_session=key == "daemon")
    time.sleep(script.get("start_seconds", 0))
    if "log" in script:
        put(Path(script["log"][0]).read_text())
        end = script["log"][1]
        kill_self(-end) if end < 0 else sys.exit(end)
    if words[0] == "test":
        tell(flags)
    else:
        train(script, flags)


if __name__ == "__main__":
    main()
