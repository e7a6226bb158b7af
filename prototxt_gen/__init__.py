"""Architectures as notation, and notation as Caffe's prototxt.

`notation` holds the typed layers and their text form, `dropout` the rules that place dropout
layers, `shapes` Caffe's shape, parameter and cost arithmetic, `net` and `solver` write
prototxt, `read` turns a net's prototxt back into an architecture, `zoo` has the nets that the
paper compares its own with. `caffe.proto` is Caffe's schema; the build generates `caffe_pb2` from
it.
"""
