"""What happens to pictures on their way: the degradation chain, on a batch of tensors.

Resizing and re-encoding are what detectors fail on (Grommelt et al. 2024, "Fake or JPEG?"), and
what separates collected sets by accident. Both classes pass the same chain, drawn by the same
dice, so that nothing in it tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows)
from torch import Tensor

from fakescan.training.jpeg import BLOCK, compress


@dataclass(frozen=True, slots=True)
class DegradationOptions:
    """How often each step is taken, in [0, 1], and how strong it may be.

    `untouched` windows pass no step at all. Scales below 1 shrink. Deviations are the largest
    standard deviations, in pixels and of values in [0, 255]. Qualities are libjpeg's.
    """

    untouched: float = 0.0
    resize: float = 0.5
    scales: tuple[float, float] = (0.5, 1.15)
    blur: float = 0.15
    blur_deviation: float = 1.0
    noise: float = 0.15
    noise_deviation: float = 5.0
    jpeg: float = 0.9
    second_jpeg: float = 0.3
    qualities: tuple[int, int] = (40, 98)
    subsampled: float = 0.6


Step = Callable[[Tensor, DegradationOptions, torch.Generator], Tensor]

# JPEG with halved chroma codes blocks of 16 pixels.
_CODED_BLOCK = 2 * BLOCK
_SCALES_A_BATCH = 4
_RESAMPLING = (("bilinear", True), ("bicubic", True), ("bilinear", False))
_STRONG_SHRINK = 0.8
_BLUR_REACH = 3
_LEAST_BLUR = 0.2


def side_for(window: int) -> int:
    """The side in pixels that pictures have at least, for windows of `window` to be drawn."""
    # More than the window is coded, so that the window can lie at any phase of the blocks' grid.
    return -(-(window + 2 * BLOCK) // _CODED_BLOCK) * _CODED_BLOCK


def draw_windows(
    pictures: Tensor, window: int, options: DegradationOptions, generator: torch.Generator
) -> Tensor:
    """Windows, degraded or not (N, window, window, 3), float of whole numbers in [0, 255].

    `pictures` is uint8 (N, S, S, 3). Each gives one window from a random place, mirrored half of
    the time; scales that its S pixels can't fill are not drawn.
    """
    side = side_for(window)
    images = _resize(pictures, side, options, generator)
    images = _sometimes(options.blur, _blur, images, options, generator)
    images = _sometimes(options.noise, _add_noise, images, options, generator)
    images = _sometimes(options.jpeg, _encode, images, options, generator)
    # Between two encodings pictures are cropped: the second sees another grid. What is rolled
    # over the edge is not in the window.
    shift = int(torch.randint(0, BLOCK, (), generator=generator, device=images.device))
    images = torch.roll(images, (shift, shift), dims=(2, 3))
    images = _sometimes(options.second_jpeg, _encode, images, options, generator)
    windows = _cut(images, window, BLOCK, generator)
    untouched = _draw(len(windows), generator) < options.untouched
    plain = _cut(pictures.permute(0, 3, 1, 2).float(), window, 0, generator)
    windows = torch.where(untouched.view(-1, 1, 1, 1), plain, windows)
    mirrored = _draw(len(windows), generator) < 0.5
    windows = torch.where(mirrored.view(-1, 1, 1, 1), windows.flip(3), windows)
    return windows.permute(0, 2, 3, 1)


SMALL_PICTURES = DegradationOptions(
    blur=0.3,
    noise=0.3,
    noise_deviation=0.1 * 255,
    jpeg=0.5,
    qualities=(30, 98),
)
"""For pictures that are windows themselves: nothing is resized, and half are never encoded."""


def degrade_pictures(
    pictures: Tensor, options: DegradationOptions, generator: torch.Generator
) -> Tensor:
    """Blurred, noisy and encoded pictures (N, S, S, 3), float of whole numbers in [0, 255].

    `pictures` is uint8 (N, S, S, 3). Each step is taken as often as `options` say; sizes and
    places stay.
    """
    images = pictures.permute(0, 3, 1, 2).float()
    side = images.shape[2]
    # The codec's blocks begin at the corner, and what is over at the edges repeats them.
    over = -side % _CODED_BLOCK
    images = F.pad(images, (0, over, 0, over), mode="replicate")
    images = _sometimes(options.blur, _blur, images, options, generator)
    images = _sometimes(options.noise, _add_noise, images, options, generator)
    images = _sometimes(options.jpeg, _encode, images, options, generator)
    return images[:, :, :side, :side].permute(0, 2, 3, 1)


def _sometimes(
    probability: float,
    step: Step,
    images: Tensor,
    options: DegradationOptions,
    generator: torch.Generator,
) -> Tensor:
    chosen = (_draw(len(images), generator) < probability).nonzero().flatten()
    if len(chosen):
        images = images.index_copy(0, chosen, step(images[chosen], options, generator))
    return images


def _resize(
    pictures: Tensor, side: int, options: DegradationOptions, generator: torch.Generator
) -> Tensor:
    # A few scales a batch: each is a call of its own.
    resized = torch.empty(len(pictures), 3, side, side, device=pictures.device)
    order = torch.randperm(len(pictures), generator=generator, device=pictures.device)
    for group in order.chunk(_SCALES_A_BATCH):
        taken, among, kernel = _draw(3, generator).tolist()
        low, high = max(options.scales[0], side / pictures.shape[1]), options.scales[1]
        scale = low + (high - low) * among if taken < options.resize else 1.0
        images = _cut(
            pictures[group].permute(0, 3, 1, 2).float(), math.ceil(side / scale), 0, generator
        )
        if images.shape[2] != side:
            mode, antialias = _RESAMPLING[int(kernel * len(_RESAMPLING))]
            # Strongly shrunk without antialiasing, pictures alias as in no viewer.
            images = F.interpolate(
                images,
                size=(side, side),
                mode=mode,
                align_corners=False,
                antialias=antialias or scale < _STRONG_SHRINK,
            )
        resized[group] = images.round().clamp(0, 255)
    return resized


def _blur(images: Tensor, options: DegradationOptions, generator: torch.Generator) -> Tensor:
    count = len(images)
    spread = options.blur_deviation - _LEAST_BLUR
    deviation = _LEAST_BLUR + spread * _draw(count, generator)[:, None]
    place = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=images.device)
    taps = torch.exp(-(place**2) / (2 * deviation**2))
    taps = (taps / taps.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
    planes = images.reshape(1, count * 3, *images.shape[2:])
    planes = F.pad(planes, (_BLUR_REACH,) * 4, mode="replicate")
    planes = F.conv2d(planes, taps[:, None, :, None], groups=count * 3)
    planes = F.conv2d(planes, taps[:, None, None, :], groups=count * 3)
    return planes.view_as(images).round()


def _add_noise(images: Tensor, options: DegradationOptions, generator: torch.Generator) -> Tensor:
    deviation = options.noise_deviation * _draw(len(images), generator).view(-1, 1, 1, 1)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + deviation * noise).round().clamp(0, 255)


def _encode(images: Tensor, options: DegradationOptions, generator: torch.Generator) -> Tensor:
    low, high = options.qualities
    quality = (low + (high - low) * _draw(len(images), generator)).round()
    return compress(images, quality, _draw(len(images), generator) < options.subsampled)


def _cut(images: Tensor, side: int, edge: int, generator: torch.Generator) -> Tensor:
    # A square from a random place of each image, `edge` pixels from its borders.
    room = images.shape[2] - side - 2 * edge
    corners = torch.randint(
        0, room + 1, (2, len(images)), generator=generator, device=images.device
    )
    along = edge + corners[:, :, None] + torch.arange(side, device=images.device)
    picture = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(3, device=images.device)[None, :, None, None]
    return images[picture, channel, along[0][:, None, :, None], along[1][:, None, None, :]]


def _draw(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device)
