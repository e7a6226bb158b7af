"""`python -m prototxt_gen.zoo NAME`: print a rival's net; without a name, the list of them."""

from __future__ import annotations

import argparse
import re
import signal
import sys

from google.protobuf import text_format

from prototxt_gen.net import DataSource
from prototxt_gen.shapes import Shape
from prototxt_gen.zoo import NETS


def _image(text: str) -> Shape:
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}x[1-9]\d{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not CHANNELSxHEIGHTxWIDTH, as 3x32x32")
    channels, height, width = (int(side) for side in text.split("x"))
    return channels, height, width


def _classes(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of classes")
    return int(text)


def main(arguments: list[str] | None = None) -> None:
    """Print the net that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m prototxt_gen.zoo", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NETS)
    parser.add_argument("--classes", type=_classes, default=10)
    parser.add_argument("--image", type=_image, default=(3, 32, 32), metavar="CxHxW")
    parser.add_argument("--train", metavar="LMDB", help="the images to train on; needs --test")
    parser.add_argument("--test", metavar="LMDB", help="the images to test on; needs --train")
    parser.add_argument("--mean", metavar="FILE", help="their mean image, a binaryproto")
    chosen = parser.parse_args(arguments)
    if chosen.name is None:
        for entry in NETS.values():
            print(f"{entry.name:13} {entry.row}: {entry.paper}")
        return
    if (chosen.train is None) != (chosen.test is None):
        parser.error("--train and --test name the two data sets of one net: give both or none")
    if chosen.mean is not None and chosen.train is None:
        parser.error("--mean needs --train and --test")
    data = None
    if chosen.train is not None:
        data = DataSource(chosen.train, chosen.test, mean_file=chosen.mean)
    net = NETS[chosen.name].build(chosen.classes, chosen.image, data)
    sys.stdout.write(text_format.MessageToString(net))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may stop early
    main()
