"""The networks, each as features and head, and the detector that wraps one for every runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from fakescan.records import FakescanError
from fakescan.weights import Architecture, ArchitectureName, Input, ModelCard


class Network(nn.Module):
    """A classifier cut in two: `features` keeps places, `head` pools them into one logit.

    Grad-CAM needs no more than this cut, and no hooks. Input (N, 3, S, S), output (N,).
    """

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,) of normalised images (N, 3, S, S); positive speaks for AI."""
        logits: Tensor = self.head(self.features(images))
        return logits.squeeze(1)


class Detector(nn.Module):
    """A network as the card describes it, from stored pixels to logits.

    Normalisation, and the mirror image where the card asks for it, are its first layers, so that
    training, scanning and every exported form share them.
    """

    def __init__(self, network: Network, given: Input) -> None:
        super().__init__()
        self.network = network
        self.mirror = given.mirror
        mean = torch.tensor(given.mean).view(1, 3, 1, 1)
        std = torch.tensor(given.std).view(1, 3, 1, 1)
        # x / 255 normalised is x * scale - shift: one multiplication a pixel.
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", mean / std, persistent=False)

    scale: Tensor
    shift: Tensor

    def normalise(self, crops: Tensor) -> Tensor:
        """Crops (N, S, S, 3) in [0, 255] as the network wants them: (N, 3, S, S)."""
        images = crops.permute(0, 3, 1, 2).to(self.scale.dtype)
        return images * self.scale - self.shift

    def forward(self, crops: Tensor) -> Tensor:
        """Logits (N,) of crops (N, S, S, 3), uint8 RGB."""
        images = self.normalise(crops)
        logits: Tensor = self.network(images)
        if self.mirror:
            logits = (logits + self.network(images.flip(3))) / 2
        return logits


def build_cnn(filters: int = 32, layers: int = 2, dense: tuple[int, ...] = (64,)) -> Network:
    """The convolutional network of Bird & Lotfi (2024, "CIFAKE"), for 32 px pictures.

    `layers` times convolution of `filters` 3x3 kernels, ReLU and max-pooling; then `dense`
    fully connected layers. The paper tries filters {16, 32, 64, 128}, layers {1, 2, 3} and dense
    layers of 32 to 4096 units. Batch normalisation is ours: it makes training short.
    """
    blocks: list[nn.Module] = []
    channels = 3
    for _ in range(layers):
        blocks += [
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        ]
        channels = filters
    head: list[nn.Module] = [nn.Flatten()]
    width = channels * (CIFAKE_SIDE >> layers) ** 2
    for units in dense:
        head += [nn.Linear(width, units), nn.ReLU(inplace=True)]
        width = units
    head.append(nn.Linear(width, 1))
    return Network(nn.Sequential(*blocks), nn.Sequential(*head))


CIFAKE_SIDE = 32


class Residuals(nn.Module):
    """A picture beside what its neighbours don't foretell: (N, 3, H, W) to (N, 9, H, W).

    Fixed high-pass filters, for content is what a detector must not learn: the second difference
    over rows and columns, and the 3x3 kernel of the spatial rich model (Fridrich & Kodovsky
    2012), each of every channel, beside the channels themselves.
    """

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.zeros(3, 3)
        across[1] = torch.tensor([1.0, -2.0, 1.0]) / 2
        rich = torch.tensor([[-1.0, 2.0, -1.0], [2.0, -4.0, 2.0], [-1.0, 2.0, -1.0]]) / 4
        # One filter a colour channel keeps the input of the first layer small.
        kernels = torch.stack([across + across.T, rich])[:, None].repeat(3, 1, 1, 1)
        self.register_buffer("kernels", kernels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The channels and their residuals; what lies beyond the edge counts as its reflection."""
        padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        residuals = nn.functional.conv2d(padded, self.kernels.to(images.dtype), groups=3)
        return torch.cat([images, residuals], dim=1)


def build_photo(channels: int = 32, dropout: float = 0.2) -> Network:
    """The network for photographs: short, fully convolutional, for windows of 96 px and more.

    After SAFE (Li et al. 2025) and NPR (Tan et al. 2024), which cut a ResNet after its second
    stage: local traces need no deeper view. Input is RGB beside high-pass residuals; pixel
    unshuffling (Shi et al. 2016) instead of a strided stem loses none of their phase.
    """
    block = torchvision.models.resnet.BasicBlock

    def stage(before: int, after: int, blocks: int) -> nn.Module:
        shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after)
        )
        first = block(before, after, stride=2, downsample=shortcut)
        return nn.Sequential(first, *(block(after, after) for _ in range(blocks - 1)))

    features = nn.Sequential(
        Residuals(),
        nn.PixelUnshuffle(2),
        nn.Conv2d(36, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        block(channels, channels),
        stage(channels, 2 * channels, 2),
        stage(2 * channels, 4 * channels, 2),
    )
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * channels, 1)
    )
    return Network(features, head)


def _resnet_builder(make: Callable[..., Any]) -> Callable[..., Network]:
    def build_resnet(stem_pool: bool = True, wide_stem: bool = False) -> Network:
        """torchvision's ResNet with a 3x3 stem of stride 1 (He et al. 2016, as for CIFAR).

        Without `stem_pool` the first stage works at full resolution, at four times the cost. With
        `wide_stem` it is the paper's 7x7 of stride 2, for windows of 224 px.
        """
        resnet = make(num_classes=1)
        stem = resnet.conv1 if wide_stem else nn.Conv2d(3, 64, 3, padding=1, bias=False)
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

    return build_resnet


ARCHITECTURES: Mapping[str, Callable[..., Network]] = {
    ArchitectureName.CNN: build_cnn,
    ArchitectureName.RESNET18: _resnet_builder(torchvision.models.resnet18),
    ArchitectureName.RESNET34: _resnet_builder(torchvision.models.resnet34),
    ArchitectureName.RESNET50: _resnet_builder(torchvision.models.resnet50),
    ArchitectureName.PHOTO: build_photo,
}


def build_network(architecture: Architecture) -> Network:
    """A freshly initialised network. Raises FakescanError for an unknown name or option."""
    builder = ARCHITECTURES.get(architecture.name)
    if builder is None:
        known = ", ".join(ARCHITECTURES)
        raise FakescanError(f"unknown architecture {architecture.name!r}; known: {known}")
    try:
        return builder(**architecture.options)
    except TypeError as error:
        raise FakescanError(f"architecture {architecture.name}: {error}") from error


def build_detector(card: ModelCard, tensors: Mapping[str, Tensor]) -> Detector:
    """The detector that `card` describes, with its weights, in evaluation mode and float32.

    Raises FakescanError for an unknown architecture, or tensors of another one.
    """
    network = build_network(card.architecture)
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise FakescanError(
            f"model {card.name}: the weights don't fit {card.architecture.name}"
        ) from error
    return Detector(network, card.input).eval()


def pick_device(name: str) -> torch.device:
    """The device that `--device` names; `auto` is a GPU where there is one.

    Raises FakescanError where the name is none, or the device isn't there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise FakescanError(f"--device {name}: torch has no such device here") from error
    return device
