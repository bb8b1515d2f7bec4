"""The small network for pictures of 32 pixels."""

from __future__ import annotations

from torch import nn

from fakescan.networks import Network

CIFAKE_SIDE = 32


def build_cnn(
    filters: int = 32,
    layers: int = 2,
    dense: tuple[int, ...] = (64,),
    convolutions: int = 1,
    widen: bool = False,
    average: bool = False,
    dropout: float = 0.0,
) -> Network:
    """The convolutional network of Bird & Lotfi (2024, "CIFAKE"), for 32 px pictures.

    `layers` times convolution of `filters` 3x3 kernels, ReLU and max-pooling; then `dense`
    fully connected layers. The paper tries filters {16, 32, 64, 128}, layers {1, 2, 3} and dense
    layers of 32 to 4096 units. Batch normalisation is ours: it makes training short.

    After VGG (Simonyan & Zisserman 2015) there may be several `convolutions` before each pooling,
    `widen` doubles the filters after each, and `average` pools what is left to one place.
    `dropout` is the share of units left out after each dense layer, in [0, 1).
    """
    blocks: list[nn.Module] = []
    channels = 3
    for layer in range(layers):
        width = filters << layer if widen else filters
        for _ in range(convolutions):
            blocks += [
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        blocks.append(nn.MaxPool2d(2))
    head: list[nn.Module] = [nn.AdaptiveAvgPool2d(1)] if average else []
    head.append(nn.Flatten())
    width = channels if average else channels * (CIFAKE_SIDE >> layers) ** 2
    for units in dense:
        head += [nn.Linear(width, units), nn.ReLU(inplace=True)]
        width = units
        if dropout:
            head.append(nn.Dropout(dropout))
    head.append(nn.Linear(width, 1))
    return Network(nn.Sequential(*blocks), nn.Sequential(*head))
