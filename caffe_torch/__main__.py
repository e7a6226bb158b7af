"""`python -m caffe_torch` is the command `caffe-torch`."""

from caffe_torch.cli import main

main()
