"""`caffe.Classifier`: a net that classifies images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from numpy.typing import ArrayLike, NDArray

from . import io
from .pycaffe import Net


class Classifier(Net):
    """A net with one input, of images, and the transformation of images to it.

    Args:
        model_file, pretrained_file: the net's prototxt and caffemodel; the phase is TEST.
        image_dims: height and width to which images are resized before they are cropped.
        mean, input_scale, raw_scale, channel_swap: see `io.Transformer`.

    Raises:
        RuntimeError: a file is missing.
        FatalError: the net, or the weights for it, are wrong.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        image_dims: Sequence[int] | None = None,
        mean: ArrayLike | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, caffe_pb2.TEST, weights=pretrained_file)
        name = self.inputs[0]
        self.transformer = io.Transformer({name: self.blobs[name].shape})
        self.transformer.set_transpose(name, (2, 0, 1))
        if mean is not None:
            self.transformer.set_mean(name, mean)
        if input_scale is not None:
            self.transformer.set_input_scale(name, input_scale)
        if raw_scale is not None:
            self.transformer.set_raw_scale(name, raw_scale)
        if channel_swap is not None:
            self.transformer.set_channel_swap(name, channel_swap)
        self.crop_dims = np.array(self.blobs[name].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else image_dims

    def predict(self, inputs: Sequence[NDArray[Any]], oversample: bool = True) -> NDArray[Any]:
        """The first output for each image (height, width, channels), (images, classes).

        Args:
            oversample: the mean over ten crops (see `io.oversample`); else the centre alone.
        """
        images = [io.resize_image(image, self.image_dims) for image in inputs]
        if oversample:
            crops = io.oversample(images, self.crop_dims)
        else:
            centre = np.array(self.image_dims) / 2.0
            top, left = (centre - self.crop_dims / 2.0).astype(int)
            bottom, right = (centre + self.crop_dims / 2.0).astype(int)
            crops = np.array([image[top:bottom, left:right] for image in images], np.float32)
        name = self.inputs[0]
        values = np.array([self.transformer.preprocess(name, crop) for crop in crops], np.float32)
        inputs_by_name: dict[str, Any] = {name: values}
        scores = self.forward_all(None, **inputs_by_name)[self.outputs[0]]
        if oversample:
            scores = scores.reshape(len(images), 10, -1).mean(1)
        return scores
