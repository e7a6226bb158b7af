"""`metaqnn train-published`: which net is trained, and how; `metaqnn published`: what it costs."""

import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from rich.console import Console

from prototxt_gen.shapes import Padding
from reproduce import published_experiments as module
from reproduce.commands.published import run_name
from reproduce.experiments.load import load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError
from reproduce.options import Options
from reproduce.paper import NETS
from reproduce.pipeline import drive
from reproduce.published_costs import published_costs
from reproduce.published_experiments import DATA_SETS, file_experiment, published_experiment
from reproduce.published_files import PublishedFileError
from reproduce.published_solvers import file_of
from reproduce.run import REPLAY_MEMORY, frozen
from reproduce.search.replay_memory import read_replay_memory
from tests.reproduce.forget import forget_costs

FAKE = Path(__file__).parents[2] / "fake_caffe.py"
NET = """name: "mine"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "theirs.lmdb" batch_size: 32 } }
layer { name: "one" type: "Convolution" bottom: "data" top: "one"
  convolution_param { num_output: 2 kernel_size: 5 stride: 2 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "one" top: "one" }
layer { name: "two" type: "InnerProduct" bottom: "one" top: "two"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "two" bottom: "label" top: "loss" }
"""
SOLVER = """net: "theirs.prototxt" type: "SGD" base_lr: 0.01 momentum: 0.9 lr_policy: "multistep"
gamma: 0.5 stepvalue: 11 stepvalue: 52 max_iter: 70 test_interval: 35 test_iter: 7
"""


@pytest.mark.parametrize("net", [net.id for net in NETS])
def test_every_row_of_the_tables_can_be_trained(net: str) -> None:
    experiment = published_experiment(net, "paper", 1, None)
    (only,) = experiment.published
    assert (only.id, experiment.name) == (net, net.partition("/")[0])
    assert experiment.q_learning.stages == ()
    assert experiment.budget_name == "top-models"


@pytest.mark.parametrize("row", range(1, 6))
def test_a_table_with_a_training_of_its_own_keeps_it(row: int) -> None:
    """The first version's MNIST nets: ELU, VALID, 20 epochs; the thesis' as the later revision."""
    (first,) = published_experiment(f"mnist/v1-{row}", "paper", 1, None).published
    assert first.id == f"mnist/v1-{row}"
    assert (first.activation, first.padding, first.epochs) == ("ELU", "VALID", 20)
    with pytest.raises(ExperimentError, match="never released; train it with preset paper"):
        published_experiment(f"mnist/v1-{row}", "released", 1, None)


def test_other_tables_are_trained_as_the_top_models() -> None:
    (thesis,) = published_experiment("mnist/thesis-2", "paper", 1, None).published
    assert (thesis.activation, thesis.padding, thesis.epochs) == ("ReLU", "SAME", 40)


def test_the_preset_decides_the_solver() -> None:
    """Section 5's Adam, or the published solvers' SGD."""
    for preset, solver, rate in (("paper", "Adam", 0.0001), ("released", "SGD", 0.0125 / 2**7)):
        (net,) = published_experiment("cifar10/v1-1", preset, 1, None).published
        assert (net.solver, net.rates[2], net.pad, net.mirror) == (solver, (160, rate), 5, True)


def test_other_epochs_are_told() -> None:
    experiment = published_experiment("cifar10/v1-1", "paper", 1, 2)
    assert experiment.published[0].epochs == 2
    assert experiment.budget_name == "top-models, 2 epochs"
    assert published_experiment("mnist/v1-3", "paper", 1, 20).budget_name == "top-models"


def test_each_published_net_has_its_own_solver_in_a_preset_of_the_authors() -> None:
    for net in NETS:
        file = file_of(net.id)
        if file is None or file.solver is None:
            continue
        (own,) = published_experiment(net.id, "authors", 1, None).published
        assert (own.base_lr, own.weight_decay) == (file.solver.base_lr, file.solver.weight_decay)
        assert own.iterations is not None
        assert own.iterations.max_iter == file.solver.max_iter
        assert own.dropout_ratios == file.dropout
        (papers,) = published_experiment(net.id, "paper", 1, None).published
        assert (papers.iterations, papers.dropout_ratios) == (None, ())


def test_the_top_models_budget_trains_them_alike() -> None:
    """`BUDGET=top-models PRESET=released` and `train-published --preset released`."""
    for name in ("cifar10", "svhn"):
        whole = load_experiment(module.experiment_path(name), "top-models", 1, "released")
        for section in whole.published:
            alone = published_experiment(section.id, "released", 1, None)
            assert alone.published == (section,)


def test_fewer_epochs_keep_a_solvers_proportions() -> None:
    experiment = published_experiment("cifar10/thesis-5", "released", 1, 30)
    (section,) = experiment.published
    assert (section.epochs, experiment.budget_name) == (30, "top-models, 30 epochs")
    assert section.iterations is not None
    assert section.iterations.max_iter == 117000  # its own; the plan scales it


@pytest.fixture
def net_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.prototxt"
    path.write_text(NET)
    return path


@pytest.fixture
def solver_file(tmp_path: Path) -> Path:
    path = tmp_path / "my_solver.prototxt"
    path.write_text(SOLVER)
    return path


def test_a_file_of_the_authors_is_known_by_its_content(reference: Path, tmp_path: Path) -> None:
    """Its row's error stands beside the measured one, whatever the file is called."""
    published = reference / "published" / "prototxt" / "mnist_8.prototxt"
    renamed = tmp_path / "net.prototxt"
    renamed.write_bytes(published.read_bytes())
    (section,) = file_experiment(renamed, "released", 1, None).published
    assert (section.id, section.net.error) == ("mnist/thesis-7", 0.44)
    assert (section.base_lr, section.weight_decay) == (0.0004, 0.001)
    (papers,) = file_experiment(renamed, "paper", 1, None).published
    assert (papers.iterations, papers.base_lr, papers.epochs) == (None, 0.001, 40)
    edited = tmp_path / "mnist_8.prototxt"
    edited.write_text(published.read_text().replace("num_output: 64", "num_output: 65"))
    (other,) = file_experiment(edited, "released", 1, None).published
    assert (other.id, other.net.error) == ("file/mnist_8", None)
    assert other.iterations is None


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_a_file_trains_on_the_data_set_that_is_named(data_set: str, tmp_path: Path) -> None:
    classes = 100 if data_set == "cifar100" else 10
    path = tmp_path / "any.prototxt"
    path.write_text(NET.replace("num_output: 10", f"num_output: {classes}"))
    experiment = file_experiment(path, "paper", 1, None, data_set)
    assert (experiment.name, experiment.data.dataset) == (data_set, data_set)
    assert experiment.data.classes == classes
    (section,) = experiment.published
    assert (section.id, section.batch, section.padding) == ("file/any", 32, Padding.VALID)
    assert section.net.notation == f"[C(2,5,2), SM({classes})]"
    assert experiment.budget_name == "top-models, any.prototxt"
    assert "in batches of 32" in experiment.unstated["published.file"]


def test_a_solver_file_keeps_its_iterations(net_file: Path, solver_file: Path) -> None:
    experiment = file_experiment(net_file, "paper", 1, None, "mnist", solver_file)
    (section,) = experiment.published
    assert section.iterations is not None
    assert section.iterations.model_dump() == {
        "max_iter": 70,
        "test_interval": 35,
        "stepsize": None,
        "stepvalues": (11, 52),
    }
    assert (section.solver, section.base_lr, section.weight_decay) == ("SGD", 0.01, 0.0)
    assert experiment.budget_name == "top-models, mine.prototxt, my_solver.prototxt"
    said = experiment.unstated["published.solver"]
    assert "its 70 iterations are kept" in said
    assert "all 10,000 test images, 100 at a time, in place of test_iter 7" in said


def test_an_interval_that_caffe_would_not_end_on_is_adapted(
    net_file: Path, solver_file: Path
) -> None:
    solver_file.write_text(SOLVER.replace("test_interval: 35", "test_interval: 30"))
    experiment = file_experiment(net_file, "paper", 1, None, "mnist", solver_file)
    assert "tests every 14 iterations, where it says 30" in experiment.unstated["published.solver"]


def test_what_a_file_cannot_be_trained_on_is_refused(net_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="its name tells no data set; say --data-set mnist"):
        file_experiment(net_file, "paper", 1, None)
    with pytest.raises(PublishedFileError, match="it has 10 classes, cifar100 has 100"):
        file_experiment(net_file, "paper", 1, None, "cifar100")
    with pytest.raises(ExperimentError, match=r"--data-set is one of mnist, .*, not 'imagenet'"):
        file_experiment(net_file, "paper", 1, None, "imagenet")
    large = tmp_path / "large.prototxt"
    large.write_text(NET.replace("kernel_size: 5", "kernel_size: 29"))
    with pytest.raises(PublishedFileError, match=r"C\(2,29,2\) does not fit its input of 1×28×28"):
        file_experiment(large, "paper", 1, None, "mnist")
    rate = tmp_path / "rate.prototxt"
    rate.write_text(SOLVER.replace("0.01", "inf"))
    with pytest.raises(ExperimentError, match=r"rate\.prototxt: base_lr: "):
        file_experiment(net_file, "paper", 1, None, "mnist", rate)


def test_a_folders_name_tells_what_is_not_as_usual() -> None:
    assert run_name("mnist/v1-3") == "mnist-v1-3"
    assert run_name("mnist/v1-3", seed=7) == "mnist-v1-3-seed-7"
    assert run_name("mnist/thesis-2", "released", 7, 2) == "mnist-thesis-2-released-seed-7-2-epochs"
    solver = Path("a/b/my solver.prototxt")
    assert run_name("x/mine.prototxt", solver=solver, data_set="svhn") == "file-mine-svhn-my-solver"
    assert run_name("../...prototxt") == "file-.."


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_list_names_every_net_the_cheapest_first(preset: str, metaqnn: Any) -> None:
    said = metaqnn("published", "--preset", preset, "--runs", "none", "--json").json
    nets = said["nets"]
    assert sorted(net["id"] for net in nets) == sorted(net.id for net in NETS)
    flop = [net["flop"] for net in nets]
    assert flop == sorted(flop)
    assert all(net["hours"] is None for net in nets)
    for net in nets:
        suffix = "" if net["preset"] == "paper" else f" --preset {preset}"
        assert net["command"] == f"metaqnn train-published {net['id']}{suffix}"
        assert (net["preset"] == "paper") == (preset == "paper" or "mnist/v1" in net["id"])


def test_the_published_mnist_nets_by_their_own_solvers_cost_what_the_thesis_rows_do() -> None:
    """Files 2, 9, 8, 0, 7 are the cheapest: 7e16 FLOP; all ten: 3.2e17. 6 FLOP a MAC and image."""
    rows = [row for row in published_costs("mnist", "released") if "thesis" in row.id]
    names = [row.solver for row in rows]
    assert names[:5] == [f"mnist_{n}, its own" for n in (2, 9, 8, 0, 7)]
    assert len(rows) == 10
    assert sum(row.flop for row in rows[:5]) == pytest.approx(7e16, rel=0.02)
    assert sum(row.flop for row in rows) == pytest.approx(3.2e17, rel=0.02)
    assert rows[0].flop == 6 * rows[0].macs * 18720 * 128


def test_the_list_is_a_table_for_people(metaqnn: Any) -> None:
    lines = metaqnn("published", "svhn", "--preset", "released", "--gpus", "0").out.splitlines()
    assert lines[0].split()[:2] == ["net", "place"]
    assert lines[1].endswith("--preset released --gpus 0")
    assert "hours: not known on GPU 0" in lines[-1]
    refusal = metaqnn("published", "imagenet").refusal
    assert refusal == "no published nets of 'imagenet'; there are: cifar10, svhn, mnist"


@pytest.fixture
def script(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The script of the `caffe` that trains; few digits stand for MNIST."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"record": str(tmp_path / "record")}))
    monkeypatch.setenv("CAFFE", shlex.join([sys.executable, "-I", "-S", str(FAKE)]))
    monkeypatch.setenv("FAKE_CAFFE", str(path))
    monkeypatch.setenv("DATA_DIR", str(digits))
    for name in ("YES", "CAFFE_STOP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        module, "load_experiment", lambda *arguments: small(load_experiment(*arguments))
    )
    monkeypatch.chdir(tmp_path)
    forget_costs()  # they are of MNIST's real size
    with contextlib.redirect_stdout(io.StringIO()):
        yield path
    forget_costs()


def small(experiment: Experiment) -> Experiment:
    """The experiment over the few digits of these tests."""
    few = {"train_images": 300, "test_images": 100, "validation": 100}
    return experiment.model_copy(update={"data": experiment.data.model_copy(update=few)})


def test_a_file_is_trained_for_its_solvers_iterations_and_goes_on_where_it_stopped(
    metaqnn: Any, script: Path, net_file: Path, solver_file: Path
) -> None:
    """The 70 iterations are no whole epochs of 300 images in batches of 32."""
    record = net_file.parent / "record"
    stop = {"record": str(record), "processes": {"2": {"full_at": 70}}}  # two check the trainer
    script.write_text(json.dumps(stop))
    words = ["train-published", net_file, "--data-set", "mnist", "--solver", solver_file]
    said = metaqnn(*words, "--seed", 7)
    assert said.code == 1
    assert "no space left" in said.err
    assert "mine.prototxt: its layers are trained as they are" in said.out
    run = net_file.parent / "runs" / "file-mine-mnist-my_solver-seed-7"
    said = metaqnn("resume", run)
    assert said.code == 0, said.err
    argv = [json.loads(line)["argv"] for line in record.read_text().splitlines()]
    assert any("snapshot_0_iter_35.solverstate" in word for word in argv[-1])
    final = run / "finals" / "file-mine"
    solver = text_format.Parse(
        (final / "solver_0.prototxt").read_text(), caffe_pb2.SolverParameter()
    )
    assert (solver.max_iter, list(solver.stepvalue)) == (70, [11, 52])
    assert (solver.test_interval, list(solver.test_iter), solver.random_seed) == (35, [1], 7)
    net = text_format.Parse((final / "net.prototxt").read_text(), caffe_pb2.NetParameter())
    assert [layer.name for layer in net.layer][2:] == ["one", "relu", "two", "loss", "accuracy"]
    assert net.layer[2].convolution_param.weight_filler.type == "msra"
    assert net.layer[0].data_param.batch_size == 32
    assert "theirs" not in str(net)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        architecture, result = memory.finals()["file/mine"]
    assert (architecture, result.iterations) == ("[C(2,5,2), SM(10)]", 70)
    assert len(result.accuracies) == 2
    (row,) = [r for r in metaqnn("tables", run, "--json").json if r["what"] == "published net"]
    assert (row["published"], row["seed"]) == (None, 7)
    assert "my_solver.prototxt" in row["budget"]
    assert metaqnn("published", "mnist", "--runs", "runs", "--json").json["speed"]["run"] == (
        "runs/file-mine-mnist-my_solver-seed-7"
    )


def test_a_row_by_its_own_solver_stands_beside_its_error(
    metaqnn: Any, script: Path, tmp_path: Path
) -> None:
    """All 18,720 iterations of the published solver, tested 40 times."""
    experiment = published_experiment("mnist/thesis-1", "released", 5, None)
    options = Options(tmp_path / "data", tmp_path / "cache")
    run = tmp_path / "run"
    drive(experiment, run, options, os.environ, Console(file=io.StringIO()))
    assert frozen(run) == experiment
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        _, result = memory.finals()["mnist/thesis-1"]
    assert (result.iterations, len(result.accuracies)) == (18720, 40)
    (row,) = [r for r in metaqnn("tables", run, "--json").json if r["what"] == "published net"]
    assert (row["published"], row["preset"], row["budget"]) == (0.35, "released", "top-models")
    assert (row["epochs"], row["measured"] is None) == (40, False)
    assert "not the paper's" in row["status"]


def test_an_unknown_net_is_refused_in_one_line(metaqnn: Any) -> None:
    refusal = metaqnn("train-published", "cifar10/v9-1").refusal
    assert refusal.startswith("no published net 'cifar10/v9-1'; there are ")


def test_what_is_no_net_is_refused_in_one_line(metaqnn: Any, tmp_path: Path) -> None:
    broken = tmp_path / "mnist_1.prototxt"
    broken.write_text('name: "x"\nlayer { nam: "c" }\n')
    refusal = metaqnn("train-published", broken).refusal
    assert refusal.startswith(f"{broken}:2:9: ")
    assert metaqnn("train-published", tmp_path / "gone.prototxt").refusal.endswith(
        "No such file or directory"
    )
    for_rows = metaqnn("train-published", "mnist/v1-3", "--data-set", "mnist").refusal
    assert for_rows == "--data-set is for a file; mnist/v1-3 tells its own"
