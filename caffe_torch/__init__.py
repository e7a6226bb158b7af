"""Caffe on PyTorch: the `caffe` command, its files, its log and its arithmetic.

`cli` is the command, `net.Net` and `solver.Solver` are what it drives; both have pycaffe's
surface. `scripts` runs scripts that import caffe, which then is the package in `shim`. `layers`
holds one small class per Caffe layer, `update_rules` one per solver type; `graph` builds a net, and
`log`, `flags` and `prototext` speak as Caffe does.

Where this engine deviates from BVLC Caffe 1.0, and nowhere else; the page docs/caffe-semantics.md
says why, and names the tests:

- The command's own: `--version` and one log line after `Use CPU.` / `Using GPUs 0` name the engine
  and the device; the actions `export` and `python`; `-precision`, `-sigterm_effect` and
  `-die_on_nan`, whose defaults are Caffe's behaviour.
- Fatal lines: each says more than Caffe's (which layer, what to do), without a C++ stack trace.
- First speed: 0, where Caffe prints an uninitialized number.
- Wraps of the data: `Restarting data prefetching from start.` is logged when the batch that wraps
  is consumed, so that a seed fixes the whole log; in Caffe another thread logs it earlier. `Waiting
  for data` is never logged.
- Layers in place: one in place on what its own gradient reads (Power, BNLL, Log, LRN, MVN), or on
  what that of the layer before it reads (Dropout behind ELU, …), gets the right gradient and one
  warning line; Caffe computes a wrong one, silently.
- Parameter layers: with iter_size the gradients of all passes count; in Caffe the last one's alone.
- SoftmaxWithLoss with two tops: works; Caffe ends there.
- STOCHASTIC pooling: on the CPU as well; Caffe has it on a GPU only.
- NaN under MAX pooling: spreads on a GPU; on the CPU it is passed over, as in Caffe.
- Labels and indices: out of range, or labels that are no whole numbers, are a fatal error on the
  CPU, and CUDA's own error on a GPU; Caffe reads other memory.
- Impossible settings: `group: 0`, a dilation of 0, a convolution without output, `dropout_ratio: 1`
  and `iter_size: 0` are refused; `engine: CUDNN` is taken on a CPU.
- Windows of MAX pooling wholly outside: have no gradient; Caffe adds theirs to another channel's.
- Snapshots: written under a temporary name and renamed, never half-written. A net with a `/` in a
  layer's name cannot be one in HDF5: refused at the start, where Caffe dies of the first.
- Data sets: an LMDB is opened read-only and without a lock, so an unwritable folder will do;
  damaged records and caffemodels are refused, which Caffe takes or dies of. LevelDB is refused.
- Missing: LSTM, LSTMUnit, RNN, WindowData, and Clip and Swish, which came after 1.0; layers written
  in Python outside of scripts; convolution over more than three axes.
- GPUs: `--gpu` takes one id.
- Random numbers: numpy's and PyTorch's, not Caffe's. The same seed gives the same run, but not
  Caffe's numbers.
- Non-finite losses: print as the machine has them (`nan` or `-nan`).
"""

__version__ = "0.1.0"
