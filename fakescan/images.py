"""Bytes to pixels, and the crop rule: one definition for scan, train, evaluate and bench.

The rule for pixels. They are RGB uint8 in stored order, never composited, never colour-managed:
16-bit channels keep their high byte; palettes are looked up; CMYK becomes (1 - C)(1 - K) and so
on; grey is repeated; transparency is set apart as alpha and the colour under it stays. Floating
point, 32-bit integer and CIELAB pictures are `unsupported_format`. Of several frames the first
(or the primary one) counts.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fakescan.codestream import (
    ends_early,
    find_orientation,
    has_more_frames,
    keep_codestream,
    parse_orientation,
)
from fakescan.records import DEFAULT_MAX_PIXELS, DecodedImage, Source, Status, Unreadable
from fakescan.sources import TIFF_RAW_MEDIA_TYPES, has_image_suffix, problem_of, sniff_media_type
from fakescan.sources.reading import read_bounded

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

    JpegDecoder = Callable[[bytes, int, int], UInt8Array | None]
    """From a JPEG's bytes, height and width to RGB uint8 (H, W, 3), or None to let Pillow try."""

_ORIENTATION_TAG, _DNG_VERSION_TAG, _BITS_PER_SAMPLE_TAG = 0x0112, 0xC612, 0x0102

# A file may not be larger than its pixels uncompressed, at 16 bits and four channels, and as much
# again for metadata as video tails of phones take.
_BYTES_PER_PIXEL = 8
_METADATA_ALLOWANCE = 256 << 20

_CHANNEL_MODES = frozenset(("1", "L", "P", "RGB", "CMYK", "YCbCr", "RGBX", "HSV"))
_ALPHA_MODES = frozenset(("LA", "PA", "RGBA", "La", "RGBa"))


def read_bytes(
    source: Source,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    reserve: Callable[[int], None] | None = None,
) -> bytes | Unreadable:
    """All of a file's bytes, or why not. Nothing is raised.

    Files longer than an uncompressed picture of `max_pixels` are `too_large`. `reserve` is called
    with the number of bytes about to be taken, before they are: it may wait.
    """
    if source.problem is not None:
        return Unreadable(source, source.problem)
    limit = max_pixels * _BYTES_PER_PIXEL + _METADATA_ALLOWANCE
    if (source.size_bytes or 0) > limit:
        return Unreadable(source, Status.TOO_LARGE)
    try:
        data = read_bounded(source, limit, reserve)
    except (OSError, ValueError) as error:
        return Unreadable(source, problem_of(error))
    except MemoryError:
        return Unreadable(source, Status.OUT_OF_MEMORY)
    return Unreadable(source, Status.TOO_LARGE) if data is None else data


def decode_image(
    source: Source,
    data: bytes,
    *,
    sha256: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    reserve: Callable[[int], None] | None = None,
    decode_jpeg: JpegDecoder | None = None,
) -> DecodedImage | Unreadable:
    """Decode the first picture of `data`, the bytes of `source`. Nothing is raised.

    `sha256` is the bytes' own, where it is known already; `reserve` as for `read_bytes`.
    `decode_jpeg` is tried on flawless JPEGs before Pillow is; by default simplejpeg.
    """
    digest = sha256 or compute_sha256(data)
    media_type = _media_type(source, data)
    size: tuple[int, int] | None = None

    def unreadable(status: Status) -> Unreadable:
        width, height = size or (None, None)
        return Unreadable(source, status, data, digest, media_type, width, height)

    if not data:
        return unreadable(Status.EMPTY)
    if media_type is None:
        # Zeros are what a lost write or an interrupted copy leaves of a picture.
        lost = has_image_suffix(source.name) and not data[:64].strip(b"\0")
        return unreadable(Status.CORRUPT if lost else Status.NOT_AN_IMAGE)
    if media_type not in _OPENERS:
        return unreadable(Status.UNSUPPORTED_FORMAT)
    try:
        shown = keep_codestream(media_type, data)
        # WebP's decoder takes its memory when it is made, the others when they decode.
        size = WebPImagePlugin._get_size(shown[:30]) if media_type == "image/webp" else None
        _check_size(size, max_pixels)
        with _OPENERS[media_type](io.BytesIO(shown)) as image:
            size = image.size
            if _is_dng(image):
                media_type = "image/x-adobe-dng"
                return unreadable(Status.UNSUPPORTED_FORMAT)
            _check_size(size, max_pixels)
            if reserve is not None:
                reserve(image.width * image.height * 4)
            quick = _jpeg_pixels(image, shown, decode_jpeg or _decode_jpeg)
            pixels, alpha = _pixels(image) if quick is None else (quick, None)
            return DecodedImage(
                source=source,
                data=data,
                sha256=digest,
                media_type=media_type,
                pixels=pixels,
                alpha=alpha,
                bit_depth=_bit_depth(image, media_type, data),
                orientation=_orientation(image, media_type, data),
                has_more_frames=has_more_frames(media_type, data)
                or bool(getattr(image, "is_animated", False)),
            )
    except MemoryError:
        return unreadable(Status.OUT_OF_MEMORY)
    except Image.DecompressionBombError:
        return unreadable(Status.TOO_LARGE)
    except _UnsupportedPixelsError:
        return unreadable(Status.UNSUPPORTED_FORMAT)
    except Exception as error:  # noqa: BLE001
        # Pillow's parsers raise OSError, SyntaxError, ValueError, struct.error, IndexError and
        # more on hostile bytes, and add to the list with each release.
        return unreadable(_status_of(error, media_type, data))


def _check_size(size: tuple[int, int] | None, max_pixels: int) -> None:
    if size is not None and size[0] * size[1] > max_pixels:
        raise Image.DecompressionBombError


def _status_of(error: Exception, media_type: str, data: bytes) -> Status:
    # Pillow's decoders, and those of AVIF and HEIC, tell want of memory by words alone. It is no
    # damage, and must not be remembered as one: the same bytes may fit another time.
    if "memory" in str(error):
        return Status.OUT_OF_MEMORY
    return Status.TRUNCATED if ends_early(media_type, data) else Status.CORRUPT


def compute_sha256(data: bytes) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class _UnsupportedPixelsError(Exception):
    pass


def _open_heif(stream: io.BytesIO) -> Image.Image:
    # Loaded when the first such file comes: the library takes longer to load than to decode.
    from pillow_heif import HeifImageFile

    image: Image.Image = HeifImageFile(stream)  # type: ignore[no-untyped-call]
    return image


class _StoredTiff(TiffImagePlugin.TiffImageFile):
    """Pillow's reader, short of its turn to upright and of its limit on pixels."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size, None).im
        ImageFile.ImageFile.load_prepare(self)

    def load_end(self) -> None:
        pass


def _open_tiff(stream: io.BytesIO) -> Image.Image:
    image = _StoredTiff(stream)
    image._size = image._tile_size
    return image


class _ShortSightedStream(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(size if size is None else min(size, 16))


def _open_webp(stream: io.BytesIO) -> Image.Image:
    # Pillow holds its limit on pixels where its first look takes in the picture's size.
    return WebPImagePlugin.WebPImageFile(_ShortSightedStream(stream.getvalue()))


# The decoders by name, and no others: Image.open would try forty, and holds a limit on pixels
# that is global to the process.
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "image/jpeg": JpegImagePlugin.jpeg_factory,
    "image/png": PngImagePlugin.PngImageFile,
    "image/webp": _open_webp,
    "image/gif": GifImagePlugin.GifImageFile,
    "image/bmp": BmpImagePlugin.BmpImageFile,
    "image/tiff": _open_tiff,
    "image/avif": AvifImagePlugin.AvifImageFile,
    "image/heic": _open_heif,
    "image/heif": _open_heif,
}


def _media_type(source: Source, data: bytes) -> str | None:
    media_type = sniff_media_type(data)
    if media_type != "image/tiff":
        return media_type
    if data[8:10] == b"CR":
        return "image/x-canon-cr2"
    suffix = source.name[source.name.rfind(".") :].lower()
    return TIFF_RAW_MEDIA_TYPES.get(suffix, media_type)  # whose first IFD is but a thumbnail


def _is_dng(image: Image.Image) -> bool:
    return isinstance(image, TiffImagePlugin.TiffImageFile) and _DNG_VERSION_TAG in image.tag_v2


def _pixels(image: Image.Image) -> tuple[UInt8Array, UInt8Array | None]:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2), None
    if image.mode in _ALPHA_MODES or (
        image.mode in _CHANNEL_MODES and "transparency" in image.info
    ):
        rgba = np.asarray(image.convert("RGBA"))
        return np.ascontiguousarray(rgba[:, :, :3]), np.ascontiguousarray(rgba[:, :, 3])
    if image.mode not in _CHANNEL_MODES:
        raise _UnsupportedPixelsError(image.mode)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), None


def _jpeg_pixels(image: Image.Image, data: bytes, decode: JpegDecoder) -> UInt8Array | None:
    if image.format not in {"JPEG", "MPO"} or image.mode not in {"RGB", "L"}:
        return None
    return decode(data, image.height, image.width)


def _decode_jpeg(data: bytes, height: int, width: int) -> UInt8Array | None:
    """The same pixels as Pillow's in 1/2.5 to 1/1.5 of its time (simplejpeg 1.9, Pillow 13.0).

    None for whatever is not flawless and common: Pillow then says what is wrong, or goes on.
    """
    # Of the size that was weighed, whatever another reading of the header may come to.
    pixels = np.empty((height, width, 3), np.uint8)
    try:
        decoded: UInt8Array = simplejpeg.decode_jpeg(data, "RGB", buffer=pixels, strict=True)
    except ValueError:
        return None
    return decoded if decoded.shape == pixels.shape else None


def _bit_depth(image: Image.Image, media_type: str, data: bytes) -> int:
    if media_type == "image/png":
        return data[24]  # IHDR: signature, length, name, width, height, then the depth
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (1,))))
    return int(image.info.get("bit_depth", 8))


def _orientation(image: Image.Image, media_type: str, data: bytes) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        orientation = image.tag_v2.get(_ORIENTATION_TAG, 1)
        return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    if media_type in {"image/webp", "image/avif"}:
        return parse_orientation(image.info.get("exif") or b"")
    # HEIC's decoder has turned the picture already.
    return find_orientation(media_type, data)


def upright(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """A view of `pixels` (H, W, …), stored by EXIF's `orientation` 1 to 8, as seen upright."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in {2, 3, 6, 7} else pixels


def crop_positions(pixels: UInt8Array, size: int, count: int) -> tuple[tuple[int, int], ...]:
    """Upper left corners (x, y) of at most `count` square windows of `size` in `pixels` (H, W, 3).

    The picture is parted into as many even regions in its own proportions, and each region gives
    the one of up to 16 evenly spread windows in which the most pixels are textured: they differ
    from a neighbour, but by no sharp step, and are not clipped. Of equal windows the first counts.
    Regions too narrow for a window of their own give windows at even distances, which overlap.

    How many there are depends on the picture's size alone; all lie inside, no two are the same,
    and a picture of exactly `size` gives one. Raises ValueError where no window fits.
    """
    height, width = pixels.shape[:2]
    if min(width, height) < size:
        raise ValueError(f"no window of {size} px fits into {width}x{height}")
    columns, rows = _regions(width, height, size, count)
    return tuple(
        _most_textured(pixels, size, xs, ys)
        for ys in _starts(height, size, rows)
        for xs in _starts(width, size, columns)
    )


# JPEG's blocks begin at the upper left corner, 16 px apart where chroma is halved. At multiples of
# that a network sees all files' blocks in one phase, that of the windows it was calibrated on.
_PITCH = 16
_PLACES_A_SIDE = 4
# Sampled at 32 by 32 points, a share is known to within 2 % (its standard error).
_POINTS_A_SIDE = 32
_LEAST_STEP = 2  # rounding alone makes neighbours differ by one level

SHARP_STEP = 40
"""Levels between neighbours beyond which they are type and outlines.

In half of the photographs' crops under 3 % of pixels stand at one (benchmarks/LOG.md, on gates).
"""

DARKEST, BRIGHTEST = 3, 252
"""Levels outside of which a sensor, or a white sheet, has nothing left to tell."""


def _regions(width: int, height: int, size: int, count: int) -> tuple[int, int]:
    most_columns, most_rows = (
        min(-(-length // size), 1 + (length - size) // _pitch(size)) for length in (width, height)
    )
    columns, rows = 1, 1
    while True:
        # Grow the side along which windows lie further apart, while the count allows.
        wider = width / columns >= height / rows
        grown = (columns + wider, rows + (not wider))
        if grown[0] * grown[1] > count or grown[0] > most_columns or grown[1] > most_rows:
            return columns, rows
        columns, rows = grown


def _pitch(size: int) -> int:
    return min(_PITCH, size)


def _starts(length: int, size: int, regions: int) -> list[list[int]]:
    """For each region of one side, where its windows may begin."""
    pitch = _pitch(size)

    def floor(place: float) -> int:
        return int(place // pitch) * pitch

    # In whole numbers, so that the last region ends with the picture.
    bounds = [floor(region * length // regions) for region in range(regions)] + [length]
    spans = [(low, high - size) for low, high in pairwise(bounds)]
    if any(low > high for low, high in spans):
        return [[floor(step * (length - size) // (regions - 1))] for step in range(regions)]
    last = _PLACES_A_SIDE - 1
    return [
        sorted({floor(low + step * (high - low) // last) for step in range(_PLACES_A_SIDE)})
        for low, high in spans
    ]


def _most_textured(pixels: UInt8Array, size: int, xs: list[int], ys: list[int]) -> tuple[int, int]:
    if len(xs) * len(ys) == 1 or size < 2:
        return xs[0], ys[0]
    points = np.arange(0, size - 1, max(1, size // _POINTS_A_SIDE))
    rows = (np.array(ys)[:, None] + points).reshape(-1, 1)
    columns = (np.array(xs)[:, None] + points).reshape(1, -1)
    # Green stands for luma: most of it, and in a camera the channel that is measured most.
    here, right, below = (
        pixels[rows + down, columns + across, 1].astype(np.int16)
        for down, across in ((0, 0), (0, 1), (1, 0))
    )
    step = np.maximum(np.abs(right - here), np.abs(below - here))
    textured = (step >= _LEAST_STEP) & (step <= SHARP_STEP)
    textured &= (here >= DARKEST) & (here <= BRIGHTEST)
    shares = textured.reshape(len(ys), len(points), len(xs), len(points)).sum(axis=(1, 3))
    row, column = divmod(int(shares.argmax()), len(xs))
    return xs[column], ys[row]


def cut_crops(pixels: UInt8Array, size: int, positions: tuple[tuple[int, int], ...]) -> UInt8Array:
    """The windows (N, size, size, 3) of `pixels` (H, W, 3) at `positions`, copied."""
    return np.stack([pixels[y : y + size, x : x + size] for x, y in positions])
