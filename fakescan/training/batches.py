"""What a training step is shown: batches drawn anew from their step's number alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from fakescan.training.augment import augment, warp
from fakescan.training.degradation import (
    SMALL_PICTURES,
    DegradationOptions,
    degrade_pictures,
    draw_windows,
)
from fakescan.training.photos import Photos, weigh

if TYPE_CHECKING:
    from fakescan.training.data import Pictures

STEP_SEEDS = 1_000_003
"""A prime: seeds of different runs and steps don't meet."""

_WINDOWS_A_PICTURE = 10
"""In an epoch: no two are alike, and validation after each takes its time."""


class Batches(Protocol):
    """Training data that lies where the network is.

    `count` pictures make `steps_per_epoch` batches; `side` is their windows' in pixels. Whatever
    is drawn for a step depends on the run's seed and that step's number, so that a resumed run
    draws what an unbroken one would have drawn.
    """

    count: int
    side: int
    steps_per_epoch: int

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Crops (N, side, side, 3), whole numbers in [0, 255], and labels (N,), 1 for AI."""
        ...


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What happens to training pictures at random.

    Shifts by up to `shift` pixels, mirror images with `flip`, turns by up to `rotation` degrees,
    scales of 1 +- `zoom`, and with `degrade` blur, noise and JPEG.
    """

    shift: int = 2
    flip: bool = True
    rotation: float = 0.0
    zoom: float = 0.0
    degrade: bool = False


class ShuffledPictures:
    """Every picture once an epoch, changed at random."""

    def __init__(
        self,
        pictures: Pictures,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
    ) -> None:
        self.count = len(pictures)
        self.side = pictures.pixels.shape[1]
        # A last short batch would be normalised by its own few pictures: it is dropped; which
        # pictures that are changes with every epoch.
        self.steps_per_epoch = max(1, self.count // batch_size)
        self._labels = torch.from_numpy(pictures.labels).to(device)
        # The whole set stays where the network is, as uint8: CIFAKE takes 370 MB.
        self._pixels = torch.from_numpy(pictures.pixels).to(device)
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._seed = seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """The step's pictures of its epoch's order."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed * STEP_SEEDS + epoch)
            order = torch.randperm(self.count, generator=generator)
            self._order = (epoch, order.to(self._labels.device))
        chosen = self._order[1][index * self._batch_size : (index + 1) * self._batch_size]
        generator = _generator(self._labels.device, self._seed, step)
        return self._augment(self._pixels[chosen], generator), self._labels[chosen]

    def _augment(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        options = self._augmentation
        pixels = augment(pixels, options.shift, generator, options.flip)
        if options.rotation or options.zoom:
            pixels = warp(pixels, options.rotation, options.zoom, generator)
        # Last, as it befalls pictures: what resamples after it would undo it.
        if options.degrade:
            pixels = degrade_pictures(pixels, SMALL_PICTURES, generator)
        return pixels


class DegradedWindows:
    """Windows of photographs, drawn by weight and sent through the degradation chain."""

    def __init__(
        self,
        photos: Photos,
        window: int,
        batch_size: int,
        degradation: DegradationOptions,
        seed: int,
        device: torch.device,
    ) -> None:
        self.count = len(photos.pictures)
        self.side = window
        self.steps_per_epoch = math.ceil(self.count * _WINDOWS_A_PICTURE / batch_size)
        self._labels = torch.from_numpy(photos.pictures.labels).to(device)
        self._pixels = torch.from_numpy(photos.pictures.pixels).to(device)
        self._weights = torch.from_numpy(weigh(photos).astype(np.float32)).to(device)
        self._batch_size = batch_size
        self._degradation = degradation
        self._seed = seed

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """As many windows as a batch holds, each of a picture drawn by its weight."""
        generator = _generator(self._labels.device, self._seed, step)
        chosen = torch.multinomial(
            self._weights, self._batch_size, replacement=True, generator=generator
        )
        windows = draw_windows(self._pixels[chosen], self.side, self._degradation, generator)
        return windows, self._labels[chosen]

    def sweep(self, times: int, untouched: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Every picture `times` over, for what is fitted at once: windows, labels and weights.

        A share `untouched` of the windows is not degraded.
        Drawn by weight, the pictures of small sources would come back so often that they are
        learned by heart. Those that aren't to be drawn at all aren't here either.
        """
        degradation = replace(self._degradation, untouched=untouched)
        generator = _generator(self._labels.device, self._seed, -1)
        (drawn,) = self._weights.nonzero(as_tuple=True)
        for chosen in torch.split(drawn.repeat(times), self._batch_size):
            windows = draw_windows(self._pixels[chosen], self.side, degradation, generator)
            yield windows, self._labels[chosen], self._weights[chosen]


def _generator(device: torch.device, seed: int, step: int) -> torch.Generator:
    generator = torch.Generator(device)
    generator.manual_seed(seed * STEP_SEEDS + step)
    return generator
