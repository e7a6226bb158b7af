"""Caffe on PyTorch: the `caffe` command, its files, its log and its arithmetic.

`cli` is the command, `net.Net` and `solver.Solver` are what it drives; both have pycaffe's
surface. `layers` holds one small class per Caffe layer, `update_rules` one per
solver type; `graph` builds a net, and `log`, `flags` and `prototext` speak as Caffe does.

Where this engine deviates from BVLC Caffe 1.0, and nowhere else:

- `--version` and one log line after `Use CPU.` / `Using GPUs 0` name the engine and the device.
- A fatal line says more than Caffe's (what to do), and has no C++ stack trace below it.
- The first speed of a run is 0, where Caffe prints an uninitialized number.
- `Restarting data prefetching from start.` is logged when the batch that wraps is consumed,
  so that a seed fixes the whole log; Caffe logs it a few batches earlier, from another thread.
- Dropout in place on the output of a layer whose gradient needs that output (ELU, Softmax, …)
  gets the right gradient and one warning line; Caffe computes a wrong one, silently.
- Snapshots are written under a temporary name and renamed, never half-written. Their format is
  BINARYPROTO; `snapshot_format: HDF5` is refused at the start.
- An LMDB is opened read-only and without a lock, so an unwritable folder will do; LevelDB and
  encoded (JPEG, PNG) datums are refused.
- A layer type that is not in `layers` is refused; so are STOCHASTIC pooling, the mask top of MAX
  pooling, convolution over other than two spatial axes, HDF5 weights, and the schema of 2013.
- `--gpu` takes one id. Random streams are numpy's and PyTorch's, not Caffe's: the same seed
  gives the same run, but not Caffe's numbers.
- Non-finite losses print as the machine has them (`nan` or `-nan`).
"""

__version__ = "0.1.0"
