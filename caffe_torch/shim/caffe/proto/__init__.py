"""`caffe.proto.caffe_pb2`: Caffe's schema."""

import sys

import prototxt_gen.caffe_pb2 as caffe_pb2

sys.modules[f"{__name__}.caffe_pb2"] = caffe_pb2

__all__ = ["caffe_pb2"]
