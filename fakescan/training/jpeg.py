"""JPEG's loss on a batch of tensors: what an encoder and decoder at some quality leave.

ITU-T T.81 (the 8x8 DCT, quantisation) and JFIF (the colour transform), as libjpeg does it: the
tables of its Annex K scaled by quality, 4:2:0 by averaging and triangle ("fancy") upsampling.
Entropy coding loses nothing and is left out. It is quick on a GPU and differs from the codec only
by the codec's integer arithmetic.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows)
from torch import Tensor

BLOCK = 8

# ITU-T T.81, tables K.1 and K.2.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99, 99, 99, 99, 99, 99, 99, 99),) * 4,
)


def quantization_tables(quality: Tensor) -> tuple[Tensor, Tensor]:
    """libjpeg's luminance and chrominance tables (N, 8, 8) for qualities (N,) of 1 to 100."""
    quality = quality.float().view(-1, 1, 1)
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    tables = []
    for base in (_LUMINANCE, _CHROMINANCE):
        table = torch.tensor(base, dtype=torch.float32, device=quality.device)
        tables.append(((table * scale + 50) / 100).floor().clamp(1, 255))
    return tables[0], tables[1]


def compress(images: Tensor, quality: Tensor, subsampled: Tensor) -> Tensor:
    """Images (N, 3, H, W), RGB in [0, 255], after JPEG; float, whole numbers.

    `quality` (N,) is libjpeg's 1 to 100; `subsampled` bool (N,) tells which get 4:2:0 chroma, the
    others 4:4:4. H and W must be multiples of 16.
    """
    luminance, chrominance = quantization_tables(quality)
    y, chroma = _to_ycbcr(images)
    y = _quantize(y, luminance)
    full = _quantize(chroma, chrominance)
    halved = _upsample(_quantize(F.avg_pool2d(chroma, 2), chrominance))
    chroma = torch.where(subsampled.view(-1, 1, 1, 1), halved, full)
    return _to_rgb(y, chroma).round().clamp(0, 255)


def _to_ycbcr(images: Tensor) -> tuple[Tensor, Tensor]:
    red, green, blue = torch.split(images, 1, dim=1)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    blue_difference = (blue - y) / 1.772 + 128
    red_difference = (red - y) / 1.402 + 128
    chroma = torch.cat([blue_difference, red_difference], dim=1)
    return y.round(), chroma.round().clamp(0, 255)


def _to_rgb(y: Tensor, chroma: Tensor) -> Tensor:
    blue_difference, red_difference = torch.split(chroma - 128, 1, dim=1)
    red = y + 1.402 * red_difference
    blue = y + 1.772 * blue_difference
    green = y - 0.344136 * blue_difference - 0.714136 * red_difference
    return torch.cat([red, green, blue], dim=1)


def _quantize(planes: Tensor, table: Tensor) -> Tensor:
    count, channels, height, width = planes.shape
    transform = _cosines(planes.device)
    blocks = (planes - 128).view(count, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = blocks.transpose(3, 4)
    steps = table.view(count, 1, 1, 1, BLOCK, BLOCK)
    coefficients = transform @ blocks @ transform.T
    coefficients = (coefficients / steps).round() * steps
    blocks = (transform.T @ coefficients @ transform).transpose(3, 4)
    return (blocks.reshape(count, channels, height, width) + 128).round().clamp(0, 255)


@lru_cache(maxsize=4)
def _cosines(device: torch.device) -> Tensor:
    place = torch.arange(BLOCK, dtype=torch.float64)
    cosines = torch.cos((2 * place + 1) * place[:, None] * math.pi / (2 * BLOCK)) / 2
    cosines[0] /= math.sqrt(2)
    return cosines.float().to(device)


def _upsample(planes: Tensor) -> Tensor:
    # libjpeg's "fancy" upsampling is the triangle filter: 3/4 of the nearer, 1/4 of the farther.
    return F.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
