"""What happens to pictures on their way, by real codecs: what a model is measured under.

Training degrades with tensors (degradation.py); here Pillow does, so that what is measured is not
the imitation that was learned from. Every function takes uint8 (H, W, 3), gives uint8 (H', W', 3)
and is deterministic.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from fakescan.records import FakescanError

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

    Degradation = Callable[[UInt8Array], UInt8Array]

CLEAN = "clean"

_SCREEN_SCALE = 0.8
_BLUR_DEVIATION = 1.0
_HALVED_CHROMA = 2  # Pillow's number for 4:2:0


def encode_jpeg(pixels: UInt8Array, quality: int) -> UInt8Array:
    """Through libjpeg at `quality`, chroma 4:2:0, and back."""
    return _pass_through(pixels, "JPEG", quality=quality, subsampling=_HALVED_CHROMA)


def encode_webp(pixels: UInt8Array, quality: int) -> UInt8Array:
    """Through lossy WebP at `quality`, and back."""
    return _pass_through(pixels, "WEBP", quality=quality, subsampling=None)


def shrink(pixels: UInt8Array, scale: float) -> UInt8Array:
    """Lanczos with antialiasing, as programs shrink pictures; sides rounded, at least 1 px."""
    return _resize(pixels, scale, Image.Resampling.LANCZOS)


def shoot_screen(pixels: UInt8Array) -> UInt8Array:
    """A screenshot: as a display scaled it, at no whole factor, and kept without loss."""
    return _resize(pixels, _SCREEN_SCALE, Image.Resampling.BILINEAR)


def blur(pixels: UInt8Array, deviation: float = _BLUR_DEVIATION) -> UInt8Array:
    """Gaussian, of a standard deviation in pixels (Pillow's approximation by boxes)."""
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(deviation)))


def add_noise(pixels: UInt8Array, deviation: float, seed: int) -> UInt8Array:
    """Gaussian noise, another for each seed, of a standard deviation where white is 1."""
    noise = np.random.default_rng(seed).normal(0, 255 * deviation, pixels.shape)
    noisy: UInt8Array = (pixels + noise).round().clip(0, 255).astype(np.uint8)
    return noisy


def _keep(pixels: UInt8Array) -> UInt8Array:
    return pixels


def _shrink_and_encode(pixels: UInt8Array, scale: float, quality: int) -> UInt8Array:
    return encode_jpeg(shrink(pixels, scale), quality)


def _resize(pixels: UInt8Array, scale: float, kernel: Image.Resampling) -> UInt8Array:
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    return np.array(Image.fromarray(pixels).resize((width, height), kernel))


def _pass_through(
    pixels: UInt8Array, format_name: str, *, quality: int, subsampling: int | None
) -> UInt8Array:
    chroma = {} if subsampling is None else {"subsampling": subsampling}
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_name, quality=quality, **chroma)
    with Image.open(stream) as image:
        return np.array(image.convert("RGB"))


DEGRADATIONS: Mapping[str, Degradation] = {
    CLEAN: _keep,
    "jpeg-90": partial(encode_jpeg, quality=90),
    "jpeg-70": partial(encode_jpeg, quality=70),
    "jpeg-50": partial(encode_jpeg, quality=50),
    "jpeg-40": partial(encode_jpeg, quality=40),
    "webp-80": partial(encode_webp, quality=80),
    "three-quarters-jpeg-75": partial(_shrink_and_encode, scale=0.75, quality=75),
    "half-jpeg-75": partial(_shrink_and_encode, scale=0.5, quality=75),
    "screenshot": shoot_screen,
    "blur": blur,
    # Every picture last encoded alike, so that the codec that it came by tells less.
    "all-alike-jpeg-85": partial(encode_jpeg, quality=85),
}
"""By name, mildest first within a kind."""


def pick_degradations(names: Collection[str]) -> Mapping[str, Degradation]:
    """Those of `names`, all without any; in their usual order, and what is clean in any case.

    Raises FakescanError for a name that is none.
    """
    if unknown := set(names) - DEGRADATIONS.keys():
        raise FakescanError(
            f"there is no condition {min(unknown)!r}; known: {', '.join(DEGRADATIONS)}"
        )
    chosen = {CLEAN, *names} if names else DEGRADATIONS.keys()
    return {name: degrade for name, degrade in DEGRADATIONS.items() if name in chosen}
