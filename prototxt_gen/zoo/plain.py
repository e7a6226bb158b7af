"""Chains of convolutions: NIN, All-CNN-C, VGG as used on CIFAR, and the ELU net."""

from __future__ import annotations

from prototxt_gen.zoo.stack import MSRA, Stack, gaussian


def mlpconv(net: Stack, block: int, size: int, filters: tuple[int, int, int]) -> None:
    """Convolution and two 1×1 convolutions, a ReLU after each (NIN's section 3.1)."""
    net.conv(f"conv{block}", filters[0], size)
    net.activate()
    for i, width in enumerate(filters[1:], start=2 * block - 1):
        net.conv(f"cccp{i}", width, 1)
        net.activate()


def nin(net: Stack, classes: int) -> None:
    """Network in Network's net for CIFAR-10: three mlpconv blocks, global average pooling."""
    net.filler = gaussian(0.05)
    mlpconv(net, 1, 5, (192, 160, 96))
    net.pool("pool1", "MAX", 3, 2)
    net.dropout(0.5)
    mlpconv(net, 2, 5, (192, 192, 192))
    net.pool("pool2", "AVE", 3, 2)
    net.dropout(0.5)
    mlpconv(net, 3, 3, (192, 192, classes))
    net.pool_all("scores", "AVE")
    net.classify()


def all_cnn(net: Stack, classes: int) -> None:
    """All-CNN-C: strided convolutions in place of pooling; the seventh layer is not padded."""
    net.filler = MSRA
    net.dropout(0.2)
    for block, width in enumerate((96, 192)):
        for i in range(3):
            net.conv(f"conv{3 * block + i + 1}", width, 3, stride=2 if i == 2 else 1)
            net.activate()
        net.dropout(0.5)
    for name, width, size in (("conv7", 192, 3), ("conv8", 192, 1), ("conv9", classes, 1)):
        net.conv(name, width, size, pad=0)
        net.activate()
    net.pool_all("scores", "AVE")
    net.classify()


def vgg(net: Stack, classes: int) -> None:
    """VGG-16's thirteen convolutions with batch normalization and dropout, and two layers FC."""
    net.filler = MSRA
    for block, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for i in range(1, count + 1):
            net.conv(f"conv{block}_{i}", width, 3)
            net.normalize(f"norm{block}_{i}")
            net.activate()
            if i < count:
                net.dropout(0.3 if block == 1 else 0.4)
        net.pool(f"pool{block}", "MAX", 2, 2)
    net.dropout(0.5)
    net.inner("fc1", 512)
    net.normalize("norm_fc1")
    net.activate()
    net.dropout(0.5)
    net.inner("scores", classes)
    net.classify()


# (units, receptive field) of each layer, stack by stack; ELU's section 4.3, without the classes.
_ELU_STACKS = (
    ((384, 3),),
    ((384, 1), (384, 2), (640, 2), (640, 2)),
    ((640, 1), (768, 2), (768, 2), (768, 2)),
    ((768, 1), (896, 2), (896, 2)),
    ((896, 3), (1024, 2), (1024, 2)),
    ((1024, 1), (1152, 2)),
    ((1152, 1),),
)


def elu(net: Stack, classes: int) -> None:
    """The ELU paper's 18 convolutions, in stacks with pooling and dropout between them."""
    net.filler = MSRA
    for number, stack in enumerate(_ELU_STACKS, start=1):
        for i, (width, size) in enumerate(stack, start=1):
            net.conv(f"conv{number}_{i}", width, size)
            net.activate("ELU")
        if number < len(_ELU_STACKS):
            net.pool(f"pool{number}", "MAX", 2, 2)
        if 1 < number < len(_ELU_STACKS):
            net.dropout((number - 1) / 10)
    net.conv("classes", classes, 1)
    net.pool_all("scores", "AVE")
    net.classify()
