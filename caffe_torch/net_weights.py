"""A net's parameters: written to files, copied from files, shared with another net's."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch import hdf5_snapshots, prototext, upgrade
from caffe_torch.blob import Parameter, is_legacy, proto_shape, shape_string, to_proto
from caffe_torch.blob import from_proto as blob_values
from caffe_torch.graph import LearnedParameter, Node
from caffe_torch.layers import Layer
from caffe_torch.log import FatalError, info


class NetWeights:
    """What a net does with its parameters, besides learning them.

    Attributes:
        name: the prototxt's name.
        nodes: the layers in order, splits included.
        learned: the parameters a solver updates, in Caffe's order.
    """

    name: str
    nodes: list[Node]
    learned: list[LearnedParameter]

    def to_proto(self, write_diff: bool = False) -> Any:
        """The NetParameter with the parameters' values, as a caffemodel holds it.

        Args:
            write_diff: with the parameters' gradients, or last updates, too.
        """
        param = caffe_pb2.NetParameter(name=self.name)
        for node in self.nodes:
            layer = param.layer.add()
            layer.CopyFrom(node.layer.param)
            del layer.blobs[:]
            layer.blobs.extend(to_proto(blob.data) for blob in node.layer.blobs)
            if write_diff:
                for proto, blob in zip(layer.blobs, node.layer.blobs, strict=True):
                    proto.diff.extend(to_proto(blob.diff).data)
        return param

    def save(self, path: str, write_diff: bool = False) -> None:
        """Write a caffemodel.

        Raises:
            FatalError: the path cannot be written.
        """
        prototext.write_binary(path, self.to_proto(write_diff))

    def save_hdf5(self, path: str, write_diff: bool = False) -> None:
        """Write the parameters as HDF5 (`.caffemodel.h5`).

        Raises:
            FatalError: the path cannot be written, or a layer's name has a slash.
        """
        hdf5_snapshots.save_weights(self, path, write_diff)

    def load_hdf5(self, path: str) -> None:
        """Copy the parameters of an HDF5 model into the layers of the same names.

        Raises:
            FatalError: the file is missing or damaged, or a layer's blobs differ.
        """
        hdf5_snapshots.load_weights(self, path)

    def copy_from(self, path: str) -> None:
        """Copy the parameters of a caffemodel, of either format, into the layers of their names.

        Raises:
            FatalError: the file is missing or damaged, or a layer's shapes differ.
        """
        if hdf5_snapshots.is_hdf5(path):
            self.load_hdf5(path)
            return

        def assign(target: Parameter, i: int, source: Any) -> None:
            with torch.no_grad():
                values = torch.from_numpy(blob_values(source.blobs[i]))
                target.tensor.copy_(values.reshape(target.shape))

        for layer in upgrade.read_model(path).layer:
            shapes = [proto_shape(blob) for blob in layer.blobs]
            legacy = any(map(is_legacy, layer.blobs))
            self._copy_layer(layer.name, shapes, layer, assign, legacy)

    def share_from(self, other: "NetWeights") -> None:
        """Use the other net's parameters in the layers of the same names.

        Raises:
            FatalError: a layer's shapes differ.
        """

        def assign(target: Parameter, i: int, source: Layer) -> None:
            self.by_name[source.name].layer.blobs[i] = source.blobs[i]

        for node in other.nodes:
            shapes = [blob.shape for blob in node.layer.blobs]
            self._copy_layer(node.layer.name, shapes, node.layer, assign, sharing=True)

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """The first layer of each name."""
        return {node.layer.name: node for node in reversed(self.nodes)}

    def _copy_layer(
        self,
        name: str,
        shapes: Sequence[tuple[int, ...]],
        source: Any,
        assign: Callable[[Parameter, int, Any], None],
        legacy: bool = False,
        sharing: bool = False,
    ) -> None:
        target = self.by_name.get(name)
        if target is None:
            info(f"net.cpp:{678 if sharing else 746}", f"Ignoring source layer {name}")
            return
        blobs = target.layer.blobs
        if len(blobs) != len(shapes):
            given = "source_layer->blobs().size()" if sharing else "source_layer.blobs_size()"
            raise FatalError(
                f"net.cpp:{684 if sharing else 752}",
                f"Check failed: target_blobs.size() == {given} ({len(blobs)} vs. {len(shapes)}) "
                f"Incompatible number of blobs for layer {name}; rename the layer to learn it "
                "from scratch",
            )
        for i, (blob, shape) in enumerate(zip(blobs, shapes, strict=True)):
            if not _same_shape(blob.shape, shape, legacy):
                what = "Cannot copy"
                if sharing:
                    compared = "target_blobs[j]->shape() == source_blob->shape()"
                    what = f"Check failed: {compared} Cannot share"
                raise FatalError(
                    f"net.cpp:{688 if sharing else 759}",
                    f"{what} param {i} weights from layer '{name}'; shape mismatch.  Source "
                    f"param shape is {shape_string(shape)}; target param shape is "
                    f"{shape_string(blob.shape)}. To learn this layer's parameters from scratch "
                    "rather than copying from a saved net, rename the layer.",
                )
            assign(blob, i, source)


def _same_shape(target: Sequence[int], source: Sequence[int], legacy: bool) -> bool:
    """Equal; a legacy source has four dimensions, with ones before those of the target."""
    ones = [1] * (4 - len(target)) if legacy else []
    return [*ones, *target] == list(source)
