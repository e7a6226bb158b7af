"""The paper's experiment: search, training through a `caffe` command, results."""
