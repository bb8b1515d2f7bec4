"""Open watermarks that diffusion pipelines write: imwatermark's dwtDct, read without OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fakescan.records import Evidence, Says, Tier

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fakescan.records import UInt8Array

    FloatArray = npt.NDArray[np.float32]

_SCALE = 36.0
_BLOCK = 4  # in the half-size approximation band: 8 pixels
_MIN_PIXELS = 256 * 256  # imwatermark refuses smaller pictures
_MAX_BLOCKS = 16_384  # one megapixel from the top: every message repeats a hundred times in it

_MESSAGES = (  # rule, who writes it, bits, how many of them have to match
    (
        "watermark-sdxl",
        "Stable Diffusion XL",
        format(0b101100111110110010010000011110111011000110011110, "048b"),
        44,
    ),
    (
        "watermark-flux",
        "FLUX",
        format(0b001010101111111010000111100111001111010100101110, "048b"),
        44,
    ),
    (
        "watermark-sd1",
        "Stable Diffusion 1",
        "".join(format(byte, "08b") for byte in b"StableDiffusionV1"),
        120,
    ),
)


def read_watermarks(pixels: UInt8Array) -> Iterator[Evidence]:
    """Known messages in `pixels`, RGB uint8 (H, W, 3) in stored order.

    The method is dwtDct of github.com/ShieldMnt/invisible-watermark: in the Haar approximation of
    the U channel, each 4 by 4 block holds one bit in its largest coefficient. diffusers and the
    reference code of SDXL and FLUX embed into floating point, where U is centred on 0.5, others
    into 8 bits, where it is centred on 128: both are read. By chance 48 bits match at 44 or more
    with p < 1e-9.
    """
    height, width, _ = pixels.shape
    if height * width < _MIN_PIXELS:
        return
    columns = width // _BLOCK * _BLOCK
    blocks_across = columns // (2 * _BLOCK)
    rows = min(height // _BLOCK * _BLOCK, 2 * _BLOCK * -(-_MAX_BLOCKS // max(blocks_across, 1)))
    found = set()
    for chroma in _chroma(pixels[:rows, :columns]):
        bits = _read_bits(chroma)
        for rule, source, message, needed in _MESSAGES:
            matching = _count_matching(bits, message)
            if matching >= needed and rule not in found:
                found.add(rule)
                yield Evidence(
                    signal="watermark",
                    rule=rule,
                    says=Says.AI,
                    tier=Tier.STRONG,
                    source=source,
                    location="Pixels:dwtDct watermark",
                    offset=None,
                    value=f"{matching} of {len(message)} bits match",
                )


def _chroma(pixels: UInt8Array) -> Iterator[FloatArray]:
    """OpenCV's U of BGR2YUV, as it computes it on floats and on bytes (14-bit fixed point)."""
    import numpy as np

    red, green, blue = (pixels[:, :, channel].astype(np.float32) for channel in range(3))
    luma = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    yield np.float32(0.492) * (blue - luma) + np.float32(0.5)
    whole = pixels.astype(np.int32)
    luma_bytes = (whole @ np.array([4899, 9617, 1868], np.int32) + 8192) >> 14
    shifted = (whole[:, :, 2] - luma_bytes) * 8061 + (128 << 14) + 8192
    yield np.clip(shifted >> 14, 0, 255).astype(np.float32)


def _read_bits(chroma: FloatArray) -> npt.NDArray[np.bool_]:
    """One bit a block, row by row."""
    import numpy as np

    band = (chroma[::2, ::2] + chroma[1::2, ::2] + chroma[::2, 1::2] + chroma[1::2, 1::2]) / 2
    down, across = band.shape[0] // _BLOCK, band.shape[1] // _BLOCK
    blocks = band[: down * _BLOCK, : across * _BLOCK].reshape(down, _BLOCK, across, _BLOCK)
    values = np.abs(blocks.transpose(0, 2, 1, 3).reshape(-1, _BLOCK * _BLOCK)[:, 1:])
    largest = np.take_along_axis(values, values.argmax(axis=1)[:, None], axis=1)[:, 0]
    bits: npt.NDArray[np.bool_] = (largest % _SCALE) > _SCALE / 2
    return bits


def _count_matching(bits: npt.NDArray[np.bool_], message: str) -> int:
    """How many bits of `message`, repeated over all blocks, the majority of its blocks holds."""
    import numpy as np

    if len(bits) < len(message):
        return 0
    whole = bits[: len(bits) // len(message) * len(message)].reshape(-1, len(message))
    wanted = np.frombuffer(message.encode(), np.uint8) == ord("1")
    return int(np.count_nonzero((whole.mean(axis=0) > 0.5) == wanted))
