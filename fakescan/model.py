"""Networks by name, and the detector that wraps one for every runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Self

import torch
import torchvision
from torch import Tensor, nn

from fakescan.networks import Network
from fakescan.networks.cnn import build_cnn
from fakescan.networks.photo import PhotoFeatures, build_photo
from fakescan.networks.standard import build_densenet121, build_resnet, build_vgg16_bn
from fakescan.records import FakescanError
from fakescan.weights import Architecture, ArchitectureName, Input, ModelCard


class Detector(nn.Module):
    """A network as the card describes it, from stored pixels to logits.

    Normalisation, enlargement and the mirror image where the card asks for them, are its first
    layers, so that training, scanning and every exported form share them. Raises FakescanError
    where the card would enlarge to less than the crop.
    """

    def __init__(self, network: Network, given: Input) -> None:
        super().__init__()
        self.network = network
        self.mirror = given.mirror
        self.enlarge = given.enlarge
        if given.enlarge is not None and given.enlarge < given.size:
            raise FakescanError(f"enlarge {given.enlarge}: the crops have {given.size} px already")
        mean = torch.tensor(given.mean).view(1, 3, 1, 1)
        std = torch.tensor(given.std).view(1, 3, 1, 1)
        # x / 255 normalised is x * scale - shift: one multiplication a pixel.
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", mean / std, persistent=False)

    scale: Tensor
    shift: Tensor

    def normalise(self, crops: Tensor) -> Tensor:
        """Crops (N, S, S, 3) in [0, 255] as the network wants them: (N, 3, S, S), or enlarged."""
        images = crops.permute(0, 3, 1, 2).to(self.scale.dtype)
        images = images * self.scale - self.shift
        if self.enlarge is not None:
            # After normalisation, which is cheaper there and commutes with it.
            size = (self.enlarge, self.enlarge)
            images = nn.functional.interpolate(
                images, size=size, mode="bilinear", align_corners=False
            )
        return images

    def compute_in(self, dtype: torch.dtype) -> Self:
        """Itself, to compute in `dtype` from now on: all of it, or of a photo network the learned.

        Its statistics count steps of a level and its trees split where they stand: rounding moves
        logits by .2 there, and by 1e-4 in the rest.
        """
        features = self.network.features
        if isinstance(features, PhotoFeatures):
            features.learned.to(dtype)
            return self
        return self.to(dtype)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits (N,) of crops (N, S, S, 3), uint8 RGB."""
        images = self.normalise(crops)
        logits: Tensor = self.network(images)
        if self.mirror:
            logits = (logits + self.network(images.flip(3))) / 2
        return logits


ARCHITECTURES: Mapping[str, Callable[..., Network]] = {
    ArchitectureName.CNN: build_cnn,
    ArchitectureName.RESNET18: partial(build_resnet, torchvision.models.resnet18),
    ArchitectureName.RESNET34: partial(build_resnet, torchvision.models.resnet34),
    ArchitectureName.RESNET50: partial(build_resnet, torchvision.models.resnet50),
    ArchitectureName.DENSENET121: build_densenet121,
    ArchitectureName.VGG16_BN: build_vgg16_bn,
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
