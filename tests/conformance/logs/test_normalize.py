"""The normalizer takes out what it should and nothing else."""

from pathlib import Path

from tests.conformance.logs.normalize import counted, read

LOG = """\
I1124 18:08:39.239698 14944 caffe.cpp:275] Use CPU.
I1124 18:08:39.239699 14944 caffe.cpp:275] Engine: caffe_torch 0.1.0, device cpu, 1 thread(s).
name: "loss = 3"
I1124 18:08:40.239698 14944 solver.cpp:239] Iteration 20 (-5.7e+23 iter/s, 5s/10 iters), loss = 2.5
I1124 18:08:40.239698 14944 solver.cpp:258]     Train net output #0: loss = 2.25 (* 2 = 4.5 loss)
I1124 18:08:40.239698 14945 data_layer.cpp:73] Restarting data prefetching from start.
I1124 18:08:40.239698 14944 sgd_solver.cpp:112] Iteration 20, lr = 0.001
I1124 18:08:40.239698 14944 caffe.cpp:304] Batch 3, prob = -nan
I1124 18:08:40.239698 14944 caffe.cpp:321] loss = 7 (* 1 = 7 loss)
I1124 18:08:40.239698 14944 caffe.cpp:400]       conv\tforward: 0.25 ms.
F1124 18:08:40.239698 14944 net.cpp:759] Cannot (0x55557b1 vs. 0x55557b2) copy
*** Check failure stack trace: ***
    @     0x7fd3e6bfa50d  google::LogMessage::Fail()
"""


def test_times_speeds_addresses_and_measured_numbers_are_masked() -> None:
    log = read(LOG)
    assert log.lines == [
        "I caffe.cpp:275] Use CPU.",
        'name: "loss = 3"',
        "I solver.cpp:239] Iteration 20 (SPEED/10 iters), loss = N",
        "I solver.cpp:258]     Train net output #0: loss = N (* 2 = N loss)",
        "I sgd_solver.cpp:112] Iteration 20, lr = 0.001",
        "I caffe.cpp:304] Batch 3, prob = N",
        "I caffe.cpp:321] loss = N (* 1 = N loss)",
        "I caffe.cpp:400]       conv\tforward: T ms.",
        "F net.cpp:759] Cannot copy",
    ]
    assert str(log.numbers) == "[2.5, 2.25, 4.5, nan, 7.0, 7.0]"
    assert log.prefetching == {"I data_layer.cpp:73] Restarting data prefetching from start."}
    assert log.fatal == "net.cpp:759] Cannot copy"


def test_counts_are_dropped_where_two_runs_stop_at_different_iterations() -> None:
    assert counted(["Iteration 3, x", "Iteration 4, x", "a_iter_4.y"]) == [
        "Iteration #, x",
        "a_iter_#.y",
    ]


def test_real_logs_keep_no_time_and_lose_no_line(reference: Path) -> None:
    for path in sorted((reference / "caffe-logs").glob("train_*.log")):
        text = path.read_text()
        log = read(text)
        assert not [line for line in log.lines if "iter/s" in line or "@ " in line], path
        assert sum(text.count(f"\n{level}1124 ") for level in "IWEF") <= len(log.lines) + sum(
            text.count(line[2:]) for line in log.prefetching
        )
