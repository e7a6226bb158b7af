"""The hand-made rivals of the paper's Tables 3 and 4 as Caffe nets.

`NETS` holds them by name; each says where its facts come from, how many parameters its paper
states, and which operations of its paper Caffe's layers and solvers do not have. Families are a
module each, `stack` is what they build with. `python -m prototxt_gen.zoo NAME` prints a net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import prototxt_gen.caffe_pb2 as caffe_pb2
from prototxt_gen.net import DataSource, add_data
from prototxt_gen.shapes import Shape
from prototxt_gen.zoo.dropconnect import dropconnect
from prototxt_gen.zoo.dsn import dsn
from prototxt_gen.zoo.highway import highway
from prototxt_gen.zoo.maxout import fitnet, maxout
from prototxt_gen.zoo.plain import all_cnn, elu, nin, vgg
from prototxt_gen.zoo.pooling import tree_max_avg
from prototxt_gen.zoo.recurrent import rcnn
from prototxt_gen.zoo.residual import preactivated_resnet, resnet
from prototxt_gen.zoo.stack import XAVIER, Stack

__all__ = ["NETS", "Entry", "Stated"]


@dataclass(frozen=True)
class Stated:
    """How many parameters a net is said to have.

    Attributes:
        text: the number as it is printed, in millions.
        low, high: the counts that the number stands for.
        source: who states it, and from where it was taken here.
    """

    text: str
    low: int
    high: int
    source: str


@dataclass(frozen=True)
class Entry:
    """A rival: what it is called, where it comes from, and its layers.

    Attributes:
        name: the net's name, its key in `NETS`.
        row: its row in Table 3 or 4.
        paper: whose it is.
        source: from where the layers are known.
        data_sets: those that its row has an error for.
        compose: appends the layers, from the blob `data` to `loss` and `accuracy`.
        stated: the number of parameters of the net for CIFAR-10; None where none was found.
        missing: operations of the paper that Caffe's layers and solvers do not have; the net goes
            without.
        notes: where the net is a choice made here: what the paper leaves open, what was not found,
            what is left out though Caffe could do it.
    """

    name: str
    row: str
    paper: str
    source: str
    data_sets: tuple[str, ...]
    compose: Callable[[Stack, int], None]
    stated: Stated | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def build(
        self, classes: int, image: Shape, data: DataSource | None = None
    ) -> caffe_pb2.NetParameter:
        """The net for training and testing.

        Args:
            classes: number of classes.
            image: (channels, height, width) of an image, after cropping.
            data: where images come from; without it an Input layer takes one image and its label.
        """
        net = caffe_pb2.NetParameter(name=self.name)
        if data is None:
            layer = net.layer.add(name="data", type="Input", top=("data", "label"))
            for dims in ((1, *image), (1,)):
                layer.input_param.shape.add(dim=dims)
        else:
            add_data(net, data, "TRAIN")
            add_data(net, data, "TEST")
        self.compose(Stack(net, XAVIER), classes)
        return net


_ALL = ("CIFAR-10", "SVHN", "MNIST", "CIFAR-100")
_CIFAR = ("CIFAR-10", "CIFAR-100")
_MEMORY = "from memory, not looked up"
_NORM = "limits on the norm of each unit's weights, after every update (max-norm): no solver has it"
_RCNN_TABLE = "the RCNN paper's table of CIFAR-10 (" + _MEMORY + ")"
_RESNET_TABLE = "table 6 of arXiv 1512.03385, as public notes repeat it"

_ENTRIES = (
    Entry(
        "maxout", "Maxout", "Goodfellow et al., ICML 2013 (arXiv 1302.4389)",
        "the authors' configuration, pylearn2 scripts/papers/maxout/cifar10.yaml", _ALL, maxout,
        Stated("> 5", 5_000_000, 20_000_000, _RCNN_TABLE), (_NORM,),
    ),
    Entry(
        "nin", "NIN", "Lin et al., ICLR 2014 (arXiv 1312.4400)",
        "the authors' configuration for cuda-convnet", _ALL, nin,
        Stated("0.97", 965_000, 975_000, _RCNN_TABLE),
    ),
    Entry(
        "fitnet", "FitNet", "Romero et al., ICLR 2015 (arXiv 1412.6550)",
        "the authors' configuration, FitNets yaml/cifar10_fitnet19_all.yaml", _ALL, fitnet,
        Stated("2.5", 2_250_000, 2_750_000, _RESNET_TABLE + "; without "
               "four of the five pieces of its fully connected layer the net has 2.48 M"),
        (_NORM,),
        ("it trains on labels alone, without the hints and outputs of a teacher, a second net",),
    ),
    Entry(
        "highway", "HighWay", "Srivastava et al., NIPS 2015 (arXiv 1505.00387, 1507.06228)",
        "the authors' prototxt, highway-networks examples/highways/cifar10-19layers (whose own "
        "CuDNNHighway layer is written here with Eltwise)", ("CIFAR-10",), highway,
        Stated("2.3", 2_250_000, 2_350_000, _RESNET_TABLE),
    ),
    Entry(
        "vgg", "VGGnet", "Simonyan & Zisserman, ICLR 2015 (arXiv 1409.1556)",
        "Zagoruyko's net for CIFAR-10, cifar.torch models/vgg_bn_drop.lua, as others repeat it",
        ("CIFAR-10",), vgg,
        notes=("the paper has no net for CIFAR-10, and whose 7.25 % the table shows was not "
                 "found; this is the one most used",),
    ),
    Entry(
        "all_cnn", "All-CNN", "Springenberg et al., ICLR 2015 workshop (arXiv 1412.6806)",
        "the paper's model All-CNN-C, as public code repeats it", _CIFAR, all_cnn,
        Stated("1.3", 1_250_000, 1_400_000, "its table of CIFAR-10 (" + _MEMORY + "); 1.37 M "
               "rounds to 1.4"),
    ),
    Entry(
        "dropconnect", "DropConnect", "Wan et al., ICML 2013",
        "the paper's text (" + _MEMORY + ") and cuda-convnet's layers-conv-local-11pct", _ALL,
        dropconnect, None,
        ("inference that draws from each unit's Gaussian: no layer draws from given means and "
         "variances; the net tests with the mean weights",),
        ("one net, where the row is of several that vote",),
    ),
    Entry(
        "dsn", "DSN", "Lee et al., AISTATS 2015 (arXiv 1409.5185)",
        "the authors' prototxt, DSN examples/best_cifar10_9.65", _ALL, dsn,
        Stated("0.97", 965_000, 975_000, _RCNN_TABLE + "; of the net that tests: the companions "
               "train only"),
        ("weights of the companion losses that fall during training: `loss_weight` is constant",),
        ("the companions' weight, 0.001, is " + _MEMORY + "; the authors' prototxt has the number "
         "as their learning rates",),
    ),
    Entry(
        "rcnn96", "R-CNN", "Liang & Hu, CVPR 2015", "the paper's text (" + _MEMORY + ")", _ALL,
        partial(rcnn, width=96),
        Stated("0.67", 665_000, 675_000, "its table of CIFAR-10, as a public reimplementation "
               "repeats it"),
        notes=("dropout: after each recurrent layer but the last, behind its pooling",),
    ),
    Entry(
        "rcnn160", "R-CNN", "Liang & Hu, CVPR 2015", "the paper's text (" + _MEMORY + ")", _ALL,
        partial(rcnn, width=160),
        Stated("1.86", 1_855_000, 1_865_000, "its table of CIFAR-10, as a public reimplementation "
               "repeats it"),
        notes=("dropout: after each recurrent layer but the last, behind its pooling",),
    ),
    Entry(
        "resnet110", "ResNet(110)", "He et al., CVPR 2016 (arXiv 1512.03385)",
        "the paper's section 4.2 (" + _MEMORY + ")", ("CIFAR-10",), partial(resnet, depth=110),
        Stated("1.7", 1_650_000, 1_750_000, _RESNET_TABLE),
    ),
    Entry(
        "resnet1001", "ResNet(1001)", "He et al., ECCV 2016 (arXiv 1603.05027)",
        "the authors' code, resnet-1k-layers resnet-pre-act.lua", _CIFAR,
        partial(preactivated_resnet, depth=1001),
        Stated("10.2", 10_150_000, 10_350_000, "later papers' tables; met by the convolutions "
               "alone, 10.18 M, without the scales and shifts of the normalizations"),
    ),
    Entry(
        "elu", "ELU", "Clevert et al., ICLR 2016 (arXiv 1511.07289)",
        "the paper's section 4.3 (" + _MEMORY + ")", _CIFAR, elu, None, (_NORM,),
        ("padding of the 2×2 filters (here 1), after which stacks is pooled (here all but the "
         "last) and what turns the last maps into scores (here their average)",),
    ),
    Entry(
        "tree_max_avg", "Tree+Max-Avg", "Lee et al., AISTATS 2016 (arXiv 1509.08985)",
        "the paper's section 3 (" + _MEMORY + ") on NIN's layers", _ALL, tree_max_avg, None, (),
        ("the layers between the poolings (here NIN's) and the levels of the tree (here two)",),
    ),
)  # fmt: skip

NETS: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""The rivals by name, in the order of Tables 3 and 4."""
