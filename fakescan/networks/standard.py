"""Standard networks as torchvision builds them, cut in two, with one logit for their classes.

Two changes fit them to small pictures, and weights for ImageNet to both: a ResNet's or DenseNet's
stem of 7x7 at stride 2 gives way to 3x3 at stride 1 unless `wide_stem` keeps it, and whatever
classified a thousand classes gives way to an average over places and one linear layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision
from torch import nn

from fakescan.networks import Network


def build_resnet(
    make: Callable[..., Any], stem_pool: bool = True, wide_stem: bool = False
) -> Network:
    """torchvision's ResNet with a 3x3 stem of stride 1 (He et al. 2016, as for CIFAR).

    Without `stem_pool` the first stage works at full resolution, at four times the cost. With
    `wide_stem` it is the paper's 7x7 of stride 2, for windows of 224 px.
    """
    resnet = make(num_classes=1)
    stem = resnet.conv1 if wide_stem else _narrow_stem()
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    features = nn.Sequential(
        stem,
        resnet.bn1,
        resnet.relu,
        resnet.maxpool if stem_pool else nn.Identity(),
        resnet.layer1,
        resnet.layer2,
        resnet.layer3,
        resnet.layer4,
    )
    return Network(features, nn.Sequential(resnet.avgpool, nn.Flatten(), resnet.fc))


def build_densenet121(stem_pool: bool = True, wide_stem: bool = False) -> Network:
    """torchvision's DenseNet-121 (Huang et al. 2017); the stem as `build_resnet`'s."""
    densenet = torchvision.models.densenet121(num_classes=1)
    layers = densenet.features
    if not wide_stem:
        layers.conv0 = _narrow_stem()
        nn.init.kaiming_normal_(layers.conv0.weight)
    if not stem_pool:
        layers.pool0 = nn.Identity()
    # The last normalisation's maps go through a ReLU before they are pooled.
    features = nn.Sequential(layers, nn.ReLU(inplace=True))
    return Network(features, _average_and_classify(densenet.classifier))


def build_vgg16_bn() -> Network:
    """torchvision's VGG-16 with batch normalisation (Simonyan & Zisserman 2015).

    Its three dense layers, 120 of its 138 million weights, give way to an average and one layer.
    """
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=True)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return Network(layers, _average_and_classify(nn.Linear(512, 1)))


def _narrow_stem() -> nn.Conv2d:
    return nn.Conv2d(3, 64, 3, padding=1, bias=False)


def _average_and_classify(classifier: nn.Linear) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
