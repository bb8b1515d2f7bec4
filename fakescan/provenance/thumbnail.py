"""EXIF's thumbnail against the picture: editors often leave the old one behind."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from fakescan.provenance.container import read_metadata
from fakescan.records import DecodedImage, Evidence, Says, Tier

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    GreyArray = npt.NDArray[np.float32]

_MAX_BYTES = 64 * 1024
_MAX_SIDE = 512  # EXIF 2.32 asks for 160 by 120; some phones write 512
_GRID = 48
_OVERSAMPLING = 4
_OTHER = 0.5  # of 289 files with a thumbnail 90 % correlate at 0.9 or more
_MIN_CONTRAST = 4.0  # grey levels; a flat picture correlates with nothing


def compare_thumbnail(image: DecodedImage) -> Evidence | None:
    """Evidence of editing if the thumbnail shows another picture; None otherwise.

    One that matches says nothing: editors write new ones too.
    """
    if image.media_type != "image/jpeg" or b"Exif\0\0" not in image.data[:_MAX_BYTES]:
        return None
    place = read_metadata(image.data, image.media_type).thumbnail
    thumbnail = _decode(image.data, place) if place else None
    if place is None or thumbnail is None:
        return None
    correlation = _correlate(image.pixels, thumbnail)
    if correlation is None or correlation >= _OTHER:
        return None
    return Evidence(
        signal="thumbnail",
        rule="thumbnail-differs",
        says=Says.EDITED,
        tier=Tier.WEAK,
        source=None,
        location="EXIF:ThumbnailImage",
        offset=place[0],
        value=f"correlation {correlation:.2f} with the picture",
    )


def _decode(data: bytes, place: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    import numpy as np
    from PIL import JpegImagePlugin

    start, length = place
    if not 0 < length <= _MAX_BYTES:
        return None
    try:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(data[start : start + length])) as image:
            if max(image.size) > _MAX_SIDE:
                return None
            return np.asarray(image.convert("RGB"))
    except Exception:  # noqa: BLE001 (Pillow raises OSError, SyntaxError, struct.error and more)
        return None


def _correlate(pixels: npt.NDArray[np.uint8], thumbnail: npt.NDArray[np.uint8]) -> float | None:
    """Pearson's correlation of both on a grid of 48 by 48, the better of upright and turned."""
    import numpy as np

    small = _shrink(_crop_bars(thumbnail, pixels.shape[1] / pixels.shape[0]))
    large = _shrink(pixels)
    if small.std() < _MIN_CONTRAST or large.std() < _MIN_CONTRAST:
        return None
    # Some programs turn the picture and leave the thumbnail, which is no change of content.
    plain = _shrink(thumbnail)
    candidates = [small, *(np.rot90(plain, turns) for turns in range(4))]
    return max(_pearson(large, one) for one in candidates)


def _pearson(one: GreyArray, other: GreyArray) -> float:
    one, other = one - one.mean(), other - other.mean()
    spread = float((one * one).sum() * (other * other).sum()) ** 0.5
    return float((one * other).sum()) / spread if spread else 0.0


def _crop_bars(thumbnail: npt.NDArray[np.uint8], aspect: float) -> npt.NDArray[np.uint8]:
    """Cut away the bars that cameras put around a picture that is not 4:3."""
    height, width, _ = thumbnail.shape
    if width / height < aspect:
        inner = max(1, round(width / aspect))
        top = (height - inner) // 2
        return thumbnail[top : top + inner]
    inner = max(1, round(height * aspect))
    left = (width - inner) // 2
    return thumbnail[:, left : left + inner]


def _shrink(pixels: npt.NDArray[np.uint8]) -> GreyArray:
    """Means of green, most of what is grey, on the grid; from samples, as more tells no more."""
    import numpy as np

    side = _GRID * _OVERSAMPLING
    rows = np.arange(side) * pixels.shape[0] // side
    columns = np.arange(side) * pixels.shape[1] // side
    samples = pixels[rows[:, None], columns, 1].astype(np.float32)
    blocks = samples.reshape(_GRID, _OVERSAMPLING, _GRID, _OVERSAMPLING)
    means: GreyArray = blocks.mean(axis=(1, 3))
    return means
