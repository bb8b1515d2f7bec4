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


def build_cnn(
    filters: int = 32,
    layers: int = 2,
    dense: tuple[int, ...] = (64,),
    convolutions: int = 1,
    widen: bool = False,
    average: bool = False,
) -> Network:
    """The convolutional network of Bird & Lotfi (2024, "CIFAKE"), for 32 px pictures.

    `layers` times convolution of `filters` 3x3 kernels, ReLU and max-pooling; then `dense`
    fully connected layers. The paper tries filters {16, 32, 64, 128}, layers {1, 2, 3} and dense
    layers of 32 to 4096 units. Batch normalisation is ours: it makes training short.

    After VGG (Simonyan & Zisserman 2015) there may be several `convolutions` before each pooling,
    `widen` doubles the filters after each, and `average` pools what is left to one place.
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


class Statistics(nn.Module):
    """Handcrafted statistics of local traces, by blocks: (N, 3, H, W) to (N, 426, H/32, W/32).

    Of luma and two colour differences: co-occurrences of three neighbouring residuals (Fridrich &
    Kodovsky 2012; on colour differences, Li et al. 2020), first and second differences along rows
    and columns, rounded to steps of 3 and cut at two steps, as square roots of frequencies; and
    log magnitudes of the 8x8 cosine transform, at every fourth pixel. Nothing here is learned.
    Takes values in [0, 255], not normalised ones.
    """

    planes: Tensor
    cosines: Tensor
    symmetric: Tensor

    _STEP, _REACH, _BLOCK = 3.0, 2, 32

    def __init__(self) -> None:
        super().__init__()
        planes = torch.tensor([[0.299, 0.587, 0.114], [1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
        self.register_buffer("planes", planes[:, :, None, None], persistent=False)
        place, frequency = torch.arange(8) + 0.5, torch.arange(8)[:, None]
        cosines = torch.cos(torch.pi / 8 * place * frequency) / 2
        cosines[0] /= 2**0.5
        basis = torch.einsum("ux,vy->uvxy", cosines, cosines).reshape(64, 1, 8, 8)
        self.register_buffer("cosines", basis, persistent=False)
        self.register_buffer("symmetric", self._join_symmetric(), persistent=False)
        self.channels = 6 * self.symmetric.shape[1] + 3 * 64

    def _join_symmetric(self) -> Tensor:
        # A triple, its reverse and their negatives say the same of a picture and its mirror image.
        steps = range(-self._REACH, self._REACH + 1)
        triples = [(a, b, c) for a in steps for b in steps for c in steps]
        names = [min((a, b, c), (c, b, a), (-a, -b, -c), (-c, -b, -a)) for a, b, c in triples]
        order = {name: index for index, name in enumerate(sorted(set(names)))}
        joined = torch.zeros(len(triples), len(order))
        for index, name in enumerate(names):
            joined[index, order[name]] = 1
        return joined

    def forward(self, pixels: Tensor) -> Tensor:
        """The statistics of every whole block of 32 pixels."""
        height, width = (side // self._BLOCK * self._BLOCK for side in pixels.shape[2:])
        planes = nn.functional.conv2d(pixels[:, :, :height, :width], self.planes)
        # Along columns is along rows of the transposed picture.
        turned = self._count(planes.transpose(2, 3)).transpose(3, 4)
        frequencies = (self._count(planes) + turned).flatten(1, 2) / 2
        return torch.cat([frequencies.sqrt(), self._transform(planes)], dim=1)

    def _count(self, planes: Tensor) -> Tensor:
        # Every second row: neighbours say much the same, at twice the cost.
        planes = planes[:, :, ::2]
        before, after = planes.roll(1, 3), planes.roll(-1, 3)
        residuals = torch.cat([after - planes, 2 * planes - before - after], dim=1)
        steps = (residuals / self._STEP).round().clamp(-self._REACH, self._REACH) + self._REACH
        count, kinds, height, width = steps.shape
        rows, columns = height // (self._BLOCK // 2), width // self._BLOCK

        def indicate(values: Tensor, levels: int) -> Tensor:
            blocks = values.reshape(count, kinds, rows, -1, columns, self._BLOCK).transpose(3, 4)
            every = torch.arange(levels, device=values.device, dtype=values.dtype)
            return (blocks.reshape(count, -1, 1, self._BLOCK**2 // 2) == every[:, None]).to(
                values.dtype
            )

        # Triples' frequencies as one product of matrices: pairs' indicators by thirds'.
        levels = 2 * self._REACH + 1
        pairs = indicate(steps.roll(1, 3) * levels + steps, levels**2)
        triples = (pairs @ indicate(steps.roll(-1, 3), levels).transpose(2, 3)).flatten(2)
        frequencies = triples @ self.symmetric / (self._BLOCK**2 // 2)
        return frequencies.reshape(count, kinds, rows, columns, -1).permute(0, 1, 4, 2, 3)

    def _transform(self, planes: Tensor) -> Tensor:
        # Each plane by the same filters; over the last block's edge lies its reflection.
        count, _, height, width = planes.shape
        padded = nn.functional.pad(planes, (0, 4, 0, 4), mode="reflect")
        magnitudes = nn.functional.conv2d(
            padded.reshape(-1, 1, height + 4, width + 4), self.cosines, stride=4
        ).abs()
        means = nn.functional.avg_pool2d(magnitudes, self._BLOCK // 4)
        return (means + 0.1).log().reshape(count, -1, *means.shape[2:])


class PhotoFeatures(nn.Module):
    """What is learned and what is handcrafted, side by side: (N, 3, S, S) to (N, C, S/8, S/8).

    Images are of values in [0, 255], for residuals are counted in their steps.
    """

    def __init__(self, learned: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.learned = learned
        self.statistics = statistics

    def forward(self, images: Tensor) -> Tensor:
        """Both maps, the coarser one's blocks repeated."""
        learned: Tensor = self.learned(images / 128 - 1)
        with torch.no_grad():
            statistics = self.statistics(images)
        statistics = nn.functional.interpolate(statistics, size=learned.shape[2:])
        return torch.cat([learned, statistics], dim=1)


def build_photo(channels: int = 16, dropout: float = 0.2) -> Network:
    """The network for photographs: short, fully convolutional, for windows of 96 px and more.

    After SAFE (Li et al. 2025) and NPR (Tan et al. 2024), which cut a ResNet after its second
    stage: local traces need no deeper view. Input is RGB beside high-pass residuals; pixel
    unshuffling (Shi et al. 2016) instead of a strided stem loses none of their phase. Beside what
    is learned the head sees handcrafted statistics, which need few pictures to be of use.
    """
    block = torchvision.models.resnet.BasicBlock

    def stage(before: int, after: int, blocks: int) -> nn.Module:
        shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after)
        )
        first = block(before, after, stride=2, downsample=shortcut)
        return nn.Sequential(first, *(block(after, after) for _ in range(blocks - 1)))

    learned = nn.Sequential(
        Residuals(),
        nn.PixelUnshuffle(2),
        nn.Conv2d(36, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        block(channels, channels),
        stage(channels, 2 * channels, 2),
        stage(2 * channels, 4 * channels, 2),
    )
    statistics = Statistics()
    width = 4 * channels + statistics.channels
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(width),
        nn.Dropout(dropout),
        nn.Linear(width, 1),
    )
    return Network(PhotoFeatures(learned, statistics), head)


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
