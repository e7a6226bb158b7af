"""Layers written in Python, which python_layers.py puts into nets."""

import caffe
import numpy as np


class Batches(caffe.Layer):
    """No bottoms: another batch at each pass, of the size that param_str says."""

    def setup(self, bottom, top):
        self.size = int(self.param_str)
        self.passes = 0

    def reshape(self, bottom, top):
        top[0].reshape(self.size, 3)
        top[1].reshape(self.size)

    def forward(self, bottom, top):
        self.passes += 1
        values = np.arange(3.0 * self.size).reshape(self.size, 3)
        top[0].data[...] = np.cos(values * self.passes)
        top[1].data[...] = np.arange(self.size) % 2

    def backward(self, top, propagate_down, bottom):
        pass


class Gain(caffe.Layer):
    """y = gain · x, one learned gain a column; in TEST twice that."""

    def setup(self, bottom, top):
        if len(bottom) != 1:
            raise Exception("Gain takes one bottom")
        self.blobs.add_blob(bottom[0].shape[1])
        self.blobs[0].data[...] = 1.5
        self.factor = 2 if self.phase == caffe.TEST else 1

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * self.blobs[0].data * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += self.factor * (top[0].diff * bottom[0].data).sum(0)
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * self.blobs[0].data * top[0].diff


class Distance(caffe.Layer):
    """The sum of squared differences of two bottoms over twice their number, a loss."""

    def setup(self, bottom, top):
        self.calls = []

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise Exception("Distance takes bottoms of one size")
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.difference = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.difference**2) / 2 / bottom[0].num

    def backward(self, top, propagate_down, bottom):
        self.calls.append(list(propagate_down))
        for i, sign in enumerate((1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * top[0].diff * self.difference / bottom[i].num
