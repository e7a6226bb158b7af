"""Per-image predictions: the net that prints them, its log, what is checked, and what is kept."""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import psutil
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.lmdb_writer import write_lmdb
from prototxt_gen.net import DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.prediction_net import PredictionNetError, prediction_net_text
from reproduce.results import prediction_log
from reproduce.results.prediction_log import PredictionError, Scores, check_scores, read_scores
from reproduce.results.predictions import largest_divisor, predict, read_predictions
from reproduce.training.caffe import find_caffe
from reproduce.training.outcome import Outcome

IMAGES, BATCH, CLASSES = 12, 4, 3
NET = net_text(
    parse("[C(4,3,1), D(1,2), FC(5), SM(3)]"),
    (1, 6, 6),
    DataSource("train_lmdb", "val_lmdb", mean_file="mean.binaryproto", scale=0.5, crop_size=6),
    NetStyle(),
    name="net",
)

# The net


def outputs(net: Any) -> set[str]:
    """The blobs that no later layer takes: what `caffe test` prints."""
    left: set[str] = set()
    for layer in net.layer:
        left -= set(layer.bottom)
        left |= set(layer.top)
    return left


def learned(net: Any) -> list[str]:
    return [x.name for x in net.layer if x.type in ("Convolution", "InnerProduct")]


def test_the_net_prints_probabilities_labels_and_accuracy_and_keeps_what_was_learned() -> None:
    trained = text_format.Parse(NET, caffe_pb2.NetParameter())
    net = text_format.Parse(prediction_net_text(NET, "test_lmdb", 7), caffe_pb2.NetParameter())
    assert outputs(net) == {"prob", "label_out", "accuracy"}
    assert learned(net) == learned(trained) != []
    data = net.layer[0]
    assert (data.data_param.source, data.data_param.batch_size) == ("test_lmdb", 7)
    assert data.transform_param == trained.layer[1].transform_param  # mean, scale, crop
    assert [layer.bottom[0] for layer in net.layer if layer.name == "prob"] == ["scores"]


def test_images_are_not_mirrored_nor_skipped() -> None:
    """Caffe would flip at random in TEST too, and a skip would move the images' order."""
    net = text_format.Parse(NET, caffe_pb2.NetParameter())
    net.layer[1].transform_param.mirror = True
    net.layer[1].data_param.rand_skip = 5
    text = prediction_net_text(text_format.MessageToString(net), "test_lmdb", 4)
    assert "mirror" not in text
    assert "rand_skip" not in text


def test_every_published_net_can_tell_its_predictions(reference: Path) -> None:
    paths = sorted((reference / "published" / "prototxt").glob("*.prototxt"))
    assert len(paths) == 21
    for path in paths:
        text = path.read_text()
        net = text_format.Parse(prediction_net_text(text, "db", 10), caffe_pb2.NetParameter())
        assert outputs(net) == {"prob", "label_out", "accuracy"}, path.name
        assert learned(net) == learned(text_format.Parse(text, caffe_pb2.NetParameter()))


def test_a_softmax_of_the_nets_own_makes_room() -> None:
    own = 'layer { name: "prob" type: "Softmax" bottom: "scores" top: "prob" }'
    assert prediction_net_text(NET + own, "db", 4) == prediction_net_text(NET, "db", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer { nonsense: 1 }", "no net prototxt"),
        ("layers { }", "old format"),
        (NET.replace("SoftmaxWithLoss", "EuclideanLoss"), "one SoftmaxWithLoss"),
        (NET.replace('"Data"', '"ImageData"'), "one Data layer"),
    ],
)
def test_a_net_that_cannot_tell_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(PredictionNetError, match=message) as raised:
        prediction_net_text(text, "db", 4)
    assert "\n" not in str(raised.value)


@given(st.integers(1, 3000), st.integers(1, 200))
def test_the_batch_is_the_largest_that_divides_the_images(number: int, limit: int) -> None:
    assert largest_divisor(number, limit) == max(d for d in range(1, limit + 1) if number % d == 0)


# The log


def head(place: str = "caffe.cpp:304") -> str:
    return f"I1124 18:08:59.754587 15015 {place}] "


def log_text(values: NDArray[np.float64], labels: NDArray[np.int64], batch: int) -> str:
    """What `caffe test` prints for these probabilities, N × classes, by the format's rules."""
    lines = [f"{head()}Use CPU.", "name: 'accuracy = 1'", f"{head()}Running for some iterations."]
    accuracies = []
    for start in range(0, len(values), batch):
        rows, true = values[start : start + batch].tolist(), labels[start : start + batch].tolist()
        right = sum(
            all(p < row[label] for c, p in enumerate(row) if c != label)
            for row, label in zip(rows, true, strict=True)
        )
        accuracies.append(right / batch)
        index = start // batch
        lines += [f"{head()}Batch {index}, accuracy = {accuracies[-1]:g}"]
        lines += [f"{head()}Batch {index}, label_out = {label:g}" for label in true]
        lines += [f"{head()}Batch {index}, prob = {p:g}" for row in rows for p in row]
        lines += [f"{head('data_layer.cpp:73')}Restarting data prefetching from start."]
    mean = sum(accuracies) / len(accuracies)
    lines += [f"{head('caffe.cpp:309')}Loss: 0", f"{head('caffe.cpp:321')}accuracy = {mean:g}"]
    lines += [f"{head('caffe.cpp:321')}label_out = 4.5", f"{head('caffe.cpp:321')}prob = 0.1"]
    return "\n".join(lines) + "\n"


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    out: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return out


def example(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities and labels of `IMAGES` images; more than half of the labels are right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, IMAGES)
    return softmax(rng.normal(0, 1, (IMAGES, CLASSES)) + 2 * np.eye(CLASSES)[labels]), labels


@settings(deadline=None)
@given(
    batches=st.integers(1, 5),
    batch=st.integers(1, 4),
    classes=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 3.0, 60.0]),
    block=st.integers(40, 400),
    prefix=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_log_is_read_back_to_the_printed_digits(
    tmp_path_factory: pytest.TempPathFactory,
    batches: int,
    batch: int,
    classes: int,
    seed: int,
    spread: float,
    block: int,
    prefix: bool,
    end: str,
) -> None:
    """However the file is cut into blocks, with glog's heads or without, also from a terminal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, batches * batch)
    values = softmax(rng.normal(0, spread, (batches * batch, classes)))
    text = log_text(values, labels, batch).replace("\n", end)
    if not prefix:
        for place in ("caffe.cpp:304", "caffe.cpp:309", "caffe.cpp:321"):
            text = text.replace(head(place), "")
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_log, "_BLOCK", block)
        scores = read_scores(path, batches, batch)
    assert scores.probabilities.shape == values.shape
    assert np.all(abs(scores.probabilities - values) <= 5.1e-6 * values)
    assert scores.labels.tolist() == labels.tolist()
    assert len(scores.accuracies) == batches
    check_scores(scores, labels, path, "db")


@given(data=st.data())
@settings(deadline=None)
def test_a_log_without_one_of_its_lines_or_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = log_text(*example(), BATCH)
    lines = text.splitlines(keepends=True)
    if data.draw(st.booleans()):
        telling = [i for i, line in enumerate(lines) if "Batch" in line or "] accuracy" in line]
        del lines[data.draw(st.sampled_from(telling))]
        broken = "".join(lines)
    else:
        broken = text[: data.draw(st.integers(0, text.index("label_out = 4.5") - len(head()) - 1))]
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_text(broken)
    with pytest.raises(PredictionError, match=r"not the whole log|are not those of") as raised:
        read_scores(path, IMAGES // BATCH, BATCH)
    assert "\n" not in str(raised.value)


def test_the_logs_of_two_runs_in_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(2 * log_text(*example(), BATCH))
    with pytest.raises(PredictionError):
        read_scores(tmp_path / "log", IMAGES // BATCH, BATCH)


def test_a_line_torn_by_another_is_not_read_as_a_number(tmp_path: Path) -> None:
    text = log_text(*example(), BATCH)
    torn = text.replace(f"prob = {example()[0][0, 0]:g}\n", f"prob = 0.1{head()}Loss: 0\n", 1)
    (tmp_path / "log").write_text(torn)
    with pytest.raises(PredictionError, match="batch 0 of 3 has 11 values of prob, not 12"):
        read_scores(tmp_path / "log", IMAGES // BATCH, BATCH)


def test_the_beginning_of_a_real_log_is_refused(reference: Path) -> None:
    """The reference's log of 100 batches was cut off after its first lines."""
    with pytest.raises(PredictionError, match="not the whole log"):
        read_scores(reference / "caffe-logs" / "test_logprobs_head.log", 100, 100)


# What is checked


def scores_of(values: NDArray[np.float64], labels: NDArray[np.int64], path: Path) -> Scores:
    path.write_text(log_text(values, labels, BATCH))
    return read_scores(path, IMAGES // BATCH, BATCH)


def test_a_diverged_net_is_named_so_though_caffe_reports_an_accuracy(tmp_path: Path) -> None:
    values, labels = example()
    values[5] = math.nan
    path = tmp_path / "log"
    path.write_text(log_text(values, labels, BATCH).replace("nan", "-nan"))
    with pytest.raises(PredictionError, match="image 5 of db: the net diverged") as raised:
        check_scores(read_scores(path, 3, BATCH), labels, path, "db")
    assert raised.value.outcome is Outcome.DIVERGED


def test_labels_of_another_database_are_refused(tmp_path: Path) -> None:
    values, labels = example()
    scores = scores_of(values, labels, tmp_path / "log")
    other = labels.copy()
    other[7] = (other[7] + 1) % CLASSES
    with pytest.raises(PredictionError, match="image 7 of db: Caffe read another label"):
        check_scores(scores, other, tmp_path / "log", "db")


def test_a_label_that_the_net_has_no_class_for_is_refused(tmp_path: Path) -> None:
    values, labels = example()
    scores = scores_of(values, labels, tmp_path / "log")
    with pytest.raises(PredictionError, match=r"image 0 of db: .* none of the net's 3 classes"):
        check_scores(scores, labels + CLASSES, tmp_path / "log", "db")


def test_probabilities_must_sum_to_one(tmp_path: Path) -> None:
    values, labels = example()
    values[3, 0] += 0.002
    scores = scores_of(values, labels, tmp_path / "log")
    with pytest.raises(PredictionError, match=r"image 3 of db: .* do not sum to 1"):
        check_scores(scores, labels, tmp_path / "log", "db")


@pytest.mark.parametrize("which", ["Batch 1, accuracy = ", "caffe.cpp:321] accuracy = "])
def test_an_accuracy_that_its_probabilities_contradict_is_refused(
    tmp_path: Path, which: str
) -> None:
    """By one image in a batch, or in the mean alone."""
    values, labels = example()
    text = log_text(values, labels, BATCH)
    start = text.index(which) + len(which)
    end = text.index("\n", start)
    value = float(text[start:end])
    path = tmp_path / "log"
    path.write_text(f"{text[:start]}{value - 1 / BATCH:g}{text[end:]}")
    with pytest.raises(PredictionError, match=r"accuracy .* is not that of its probabilities"):
        check_scores(read_scores(path, 3, BATCH), labels, path, "db")


def test_probabilities_that_rounding_made_equal_may_count_either_way(tmp_path: Path) -> None:
    """0.49999961 and 0.49999962 print alike; which was larger only Caffe's accuracy tells."""
    values, labels = example()
    for other in (0.49999960, 0.49999962):
        row = np.full(CLASSES, 0.0)
        row[labels[2]], row[(labels[2] + 1) % CLASSES] = 0.49999961, other
        values[2] = row
        assert len({f"{value:g}" for value in row if value}) == 1
        scores = scores_of(values, labels, tmp_path / "log")
        check_scores(scores, labels, tmp_path / "log", "db")


# What is kept

FAKE = """
import json, os, sys, time
from pathlib import Path

if "--version" in sys.argv:
    print("caffe version 1.0.0-fake")
    sys.exit()
script = json.loads(Path(os.environ["FAKE_TEST"]).read_text())
with open(script["record"], "a") as record:
    record.write(json.dumps(sys.argv[1:]) + "\\n")
Path(script["record"] + ".pid").write_text(str(os.getpid()))
os.write(2, Path(script["log"]).read_bytes())
while script.get("hang"):
    time.sleep(0.01)
sys.exit(script.get("exit", 0))
"""


class Setting:
    """A run folder with a database, weights, and a `caffe` that prints a log given to it."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.run.mkdir()
        self.values, self.labels = example()
        images = np.zeros((IMAGES, 1, 6, 6), np.uint8)
        write_lmdb(folder / "data" / "test_lmdb", [(images, self.labels)])
        self.weights = self.run / "model.caffemodel"
        self.write_weights(1.0)
        self.target = self.run / "finals" / "a" / "test.h5"
        program = folder / "fake.py"
        program.write_text(FAKE)
        self.script_path, self.record = folder / "script.json", folder / "record"
        self.log = folder / "log"
        self.log.write_text(log_text(self.values, self.labels, BATCH))
        self.script()
        words = f"{sys.executable} -I -S {program}"
        self.caffe = find_caffe({**os.environ, "CAFFE": words})

    def script(self, **keys: object) -> None:
        script = {"record": str(self.record), "log": str(self.log), **keys}
        self.script_path.write_text(json.dumps(script))

    def write_weights(self, value: float) -> None:
        model = text_format.Parse(NET, caffe_pb2.NetParameter())
        for layer in model.layer:
            if layer.type in ("Convolution", "InnerProduct"):
                layer.blobs.add(data=[value])
        self.weights.write_bytes(model.SerializeToString())

    def predict(self, **keywords: Any) -> Any:
        arguments: dict[str, Any] = {"database": "../data/test_lmdb", "net_text": NET} | keywords
        return predict(
            self.target,
            self.run,
            arguments.pop("net_text"),
            self.weights,
            arguments.pop("database"),
            self.caffe,
            batch_limit=BATCH,
            **arguments,
        )

    def runs(self) -> list[list[str]]:
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def files(self) -> set[str]:
        return {path.name for path in self.target.parent.iterdir()}


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    (tmp_path / "data").mkdir()
    setting = Setting(tmp_path)
    monkeypatch.setenv("FAKE_TEST", str(setting.script_path))
    return setting


def test_predictions_come_from_one_process_and_are_stored(setting: Setting) -> None:
    made = setting.predict()
    prefix = "finals/a/test"
    assert setting.runs() == [
        ["test", f"--model={prefix}.prototxt", "--weights=model.caffemodel", "--iterations=3"]
    ]
    assert made.probabilities.dtype == np.float32
    assert abs(made.probabilities - setting.values).max() <= 1e-6
    assert made.labels.tolist() == setting.labels.tolist()
    wrong = sum(
        max(range(CLASSES), key=row.__getitem__) != label
        for row, label in zip(setting.values.tolist(), setting.labels.tolist(), strict=True)
    )
    assert made.errors == wrong
    assert made.accuracy == pytest.approx(1 - wrong / IMAGES)
    assert setting.files() == {"test.h5", "test.prototxt"}
    stored = read_predictions(setting.target)
    assert np.array_equal(stored.probabilities, made.probabilities)
    assert np.array_equal(stored.labels, made.labels)
    assert stored.trainer == "caffe version 1.0.0-fake"
    assert stored.database == "../data/test_lmdb"


def test_the_same_again_runs_nothing_and_changes_nothing(setting: Setting) -> None:
    first = setting.predict()
    content, changed = setting.target.read_bytes(), setting.target.stat().st_mtime_ns
    again = setting.predict()
    assert len(setting.runs()) == 1
    assert np.array_equal(again.probabilities, first.probabilities)
    assert setting.target.stat().st_mtime_ns == changed
    setting.target.unlink()
    setting.predict()
    assert setting.target.read_bytes() == content  # no date in it


def test_other_weights_or_another_net_are_predicted_anew(setting: Setting) -> None:
    first = setting.predict()
    setting.write_weights(2.0)
    second = setting.predict()
    third = setting.predict(net_text=NET.replace("scale: 0.5", "scale: 0.25"))
    assert len(setting.runs()) == 3
    assert first.net_sha256 == second.net_sha256 != third.net_sha256
    assert first.weights_sha256 != second.weights_sha256 == third.weights_sha256


def test_a_file_of_something_else_is_replaced(setting: Setting) -> None:
    setting.predict()
    setting.target.write_bytes(setting.target.read_bytes()[:100])
    with pytest.raises(PredictionError, match="no file of predictions"):
        read_predictions(setting.target)
    setting.predict()
    assert read_predictions(setting.target).labels.tolist() == setting.labels.tolist()


def test_a_failure_leaves_what_was_stored_and_the_log(setting: Setting) -> None:
    first = setting.predict()
    setting.write_weights(2.0)
    fatal = "F1124 18:08:59.754587 15015 net.cpp:1] Check failed: shapes"
    setting.log.write_text(f"{fatal}\n*** Check failure stack trace: ***\n")
    setting.script(exit=134)
    with pytest.raises(PredictionError, match="caffe test failed: Check failed: shapes") as raised:
        setting.predict()
    assert raised.value.outcome is Outcome.CRASHED
    assert setting.files() == {"test.h5", "test.prototxt", "test.log"}
    assert read_predictions(setting.target).weights_sha256 == first.weights_sha256


def test_exit_0_after_half_the_log_is_not_believed(setting: Setting) -> None:
    text = setting.log.read_text()
    setting.log.write_text(text[: text.index("Batch 2")])
    with pytest.raises(PredictionError, match="batch 2 of 3 has 0 values of prob, not 12"):
        setting.predict()
    assert not setting.target.exists()


def test_lack_of_memory_is_named(setting: Setting) -> None:
    fatal = "F1124 18:08:59.754587 15015 syncedmem.cpp:1] Check failed: error == cudaSuccess"
    setting.log.write_text(f"{fatal} (2 vs. 0)  out of memory\n")
    setting.script(exit=134)
    with pytest.raises(PredictionError) as raised:
        setting.predict()
    assert raised.value.outcome is Outcome.OUT_OF_MEMORY


def alive(setting: Setting) -> list[int]:
    def runs(process: psutil.Process) -> bool:
        try:
            own = process.environ().get("FAKE_TEST") == str(setting.script_path)
            return own and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    return [p.pid for p in psutil.process_iter() if p.pid != os.getpid() and runs(p)]


@pytest.mark.parametrize("how", [Outcome.STOPPED, Outcome.TIMEOUT])
def test_a_process_that_does_not_end_is_ended(setting: Setting, how: Outcome) -> None:
    """When asked to, or after its time; nothing is stored, nothing goes on."""
    setting.script(hang=True)
    stop = threading.Event()
    keywords: dict[str, Any] = {"timeout_s": 0.5} if how is Outcome.TIMEOUT else {"stop": stop}

    def stop_once_it_runs() -> None:
        while not setting.runs():
            time.sleep(0.01)
        stop.set()

    thread = threading.Thread(target=stop_once_it_runs)
    thread.start()
    with pytest.raises(PredictionError) as raised:
        setting.predict(**keywords)
    thread.join()
    assert raised.value.outcome is how
    assert not alive(setting)
    assert not setting.target.exists()
    assert not setting.target.with_suffix(".mark").exists()


STOP = """
import os, signal, sys
from pathlib import Path

record, number, solver = sys.argv[1:]
Path(record + ".stop").write_text(number + " " + solver)
os.kill(int(Path(record + ".pid").read_text()), getattr(signal, "SIG" + number))
"""


def test_caffe_elsewhere_is_ended_by_caffe_stop_which_is_told_the_net(setting: Setting) -> None:
    """An empty {solver} in a `pkill -f {solver}` would end every process of that host."""
    setting.script(hang=True)
    words = (sys.executable, "-c", STOP, str(setting.record), "{signal}", "{solver}")
    setting.caffe = replace(setting.caffe, stop=words)
    stop = threading.Event()

    def stop_once_it_runs() -> None:
        while not setting.record.with_name("record.pid").exists():
            time.sleep(0.01)
        stop.set()

    thread = threading.Thread(target=stop_once_it_runs)
    thread.start()
    with pytest.raises(PredictionError) as raised:
        setting.predict(stop=stop)
    thread.join()
    assert raised.value.outcome is Outcome.STOPPED
    said = setting.record.with_name("record.stop").read_text()
    assert said.endswith(" finals/a/test.prototxt")
    assert not alive(setting)


def remove_weights(setting: Setting) -> dict[str, Any]:
    setting.weights.unlink()
    return {}


def tear_weights(setting: Setting) -> dict[str, Any]:
    setting.weights.write_bytes(setting.weights.read_bytes()[:-3])
    return {}


def rename_a_layer(setting: Setting) -> dict[str, Any]:
    return {"net_text": NET.replace('"scores"', '"other"')}


def leave_the_run_folder(setting: Setting) -> dict[str, Any]:
    setting.target = setting.run.parent / "test.h5"
    return {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_weights, "model.caffemodel: cannot be read"),
        (tear_weights, "model.caffemodel: no whole caffemodel"),
        (rename_a_layer, "model.caffemodel: no weights of layer other"),
        (leave_the_run_folder, "is not inside"),
        (lambda setting: {"database": "../data/none_lmdb"}, "none_lmdb: no LMDB"),
        (lambda setting: {"net_text": "layers { }"}, "old format"),
    ],
)
def test_bad_input_is_told_in_one_line_before_caffe_runs(
    setting: Setting, change: Callable[[Setting], dict[str, Any]], message: str
) -> None:
    with pytest.raises(PredictionError, match=message) as raised:
        setting.predict(**change(setting))
    assert "\n" not in str(raised.value)
    assert setting.runs() == []
