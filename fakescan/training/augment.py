"""Changes to training pictures that leave the local traces of their making as they are."""

from __future__ import annotations

import torch
from torch import Tensor


def augment(pixels: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Random mirror images and shifts of crops uint8 (N, S, S, 3), by up to `shift` pixels.

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
    mirrored = torch.rand(count, generator=generator, device=device) < 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    picture = torch.arange(count, device=device)[:, None, None]
    return pixels[picture, rows[:, :, None], columns[:, None, :]]
