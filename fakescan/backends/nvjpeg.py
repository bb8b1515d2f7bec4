"""JPEGs decoded on an NVIDIA GPU, by torchvision's nvJPEG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchvision.io import ImageReadMode, decode_jpeg

from fakescan.model import pick_device
from fakescan.records import FakescanError

if TYPE_CHECKING:
    from fakescan.records import UInt8Array


class GpuJpegDecoder:
    """A `JpegDecoder` for images.py; threads may share it.

    nvJPEG spreads halved colour over pixels otherwise than libjpeg does, so scores differ a little
    from those of pictures decoded on the CPU: the store and every report keep the two apart.
    """

    def __init__(self, device: str) -> None:
        """Raises FakescanError where `device` is no NVIDIA GPU, or torchvision has no nvJPEG."""
        self._device = pick_device(device)
        if self._device.type != "cuda":
            raise FakescanError("--decode gpu needs an NVIDIA GPU, and there is none here")

    def __call__(self, data: bytes, height: int, width: int) -> UInt8Array | None:
        """RGB uint8 (height, width, 3) on the CPU; None for what nvJPEG won't decode."""
        # A copy: torch warns of bytes, which it can't write to.
        stream = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        try:
            decoded = decode_jpeg(stream, ImageReadMode.RGB, device=self._device)
        except RuntimeError:
            return None
        assert isinstance(decoded, torch.Tensor)  # a list only where a list was given
        if decoded.shape != (3, height, width):
            return None
        pixels: UInt8Array = decoded.permute(1, 2, 0).contiguous().cpu().numpy()
        return pixels
