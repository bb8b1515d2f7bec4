"""Random changes to training pictures, those that keep the local traces of their making first."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows)
from torch import Tensor


def augment(pixels: Tensor, shift: int, generator: torch.Generator, flip: bool = True) -> Tensor:
    """Random shifts of crops uint8 (N, S, S, 3), by up to `shift` pixels, and mirror images.

    What moves in at an edge is the reflection there. Nothing is resampled: a shift and a mirror
    image leave the local traces as they are, which rotation and scaling don't.
    """
    count, side, device = len(pixels), pixels.shape[1], pixels.device
    along = torch.arange(-shift, side + shift, device=device)
    reflected = (side - 1 - (side - 1 - along.abs()).abs()).clamp(0, side - 1)
    offsets = torch.randint(0, 2 * shift + 1, (2, count), generator=generator, device=device)
    window = torch.arange(side, device=device)
    rows = reflected[offsets[0, :, None] + window]
    columns = reflected[offsets[1, :, None] + window]
    if flip:
        mirrored = torch.rand(count, generator=generator, device=device) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    picture = torch.arange(count, device=device)[:, None, None]
    return pixels[picture, rows[:, :, None], columns[:, None, :]]


def warp(pixels: Tensor, rotation: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Crops uint8 (N, S, S, 3) turned by up to `rotation` degrees and scaled by 1 +- `zoom`.

    Both about the middle, bilinear, as uint8; what moves in at an edge repeats the edge.
    """
    count, device = len(pixels), pixels.device
    draws = 2 * torch.rand(2, count, generator=generator, device=device) - 1
    angle, scale = draws[0] * math.radians(rotation), 1 + draws[1] * zoom
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    still = torch.zeros_like(angle)
    rows = [torch.stack([cosine, -sine, still]), torch.stack([sine, cosine, still])]
    turns = torch.stack(rows).permute(2, 0, 1)
    images = pixels.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(turns, list(images.shape), align_corners=False)
    warped = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return warped.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
