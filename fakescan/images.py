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
from fakescan.sources import TIFF_RAW_SUFFIXES, has_image_suffix, problem_of, sniff_media_type

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

_ORIENTATION_TAG = 0x0112
_DNG_VERSION_TAG = 0xC612
_BITS_PER_SAMPLE_TAG = 0x0102

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
    if reserve is not None:
        reserve(source.size_bytes or 0)
    try:
        with source.open() as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        return Unreadable(source, problem_of(error))
    except MemoryError:
        return Unreadable(source, Status.OUT_OF_MEMORY)
    return Unreadable(source, Status.TOO_LARGE) if len(data) > limit else data


def decode_image(
    source: Source,
    data: bytes,
    *,
    sha256: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    reserve: Callable[[int], None] | None = None,
) -> DecodedImage | Unreadable:
    """Decode the first picture of `data`, the bytes of `source`. Nothing is raised.

    `sha256` is the bytes' own, where it is known already; `reserve` as for `read_bytes`.
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
        lost = has_image_suffix(source.path) and not data[:64].strip(b"\0")
        return unreadable(Status.CORRUPT if lost else Status.NOT_AN_IMAGE)
    if media_type not in _OPENERS:
        return unreadable(Status.UNSUPPORTED_FORMAT)
    try:
        shown = keep_codestream(media_type, data)
        with _OPENERS[media_type](io.BytesIO(shown)) as image:
            size = image.size
            if _is_dng(image):
                media_type = "image/x-adobe-dng"
                return unreadable(Status.UNSUPPORTED_FORMAT)
            if image.width * image.height > max_pixels:
                return unreadable(Status.TOO_LARGE)
            if reserve is not None:
                reserve(image.width * image.height * 4)
            quick = _jpeg_pixels(image, shown) if media_type == "image/jpeg" else None
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


# The decoders by name, and no others: Image.open would try forty, and holds a limit on pixels
# that is global to the process.
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "image/jpeg": JpegImagePlugin.jpeg_factory,
    "image/png": PngImagePlugin.PngImageFile,
    "image/webp": WebPImagePlugin.WebPImageFile,
    "image/gif": GifImagePlugin.GifImageFile,
    "image/bmp": BmpImagePlugin.BmpImageFile,
    "image/tiff": _open_tiff,
    "image/avif": AvifImagePlugin.AvifImageFile,
    "image/heic": _open_heif,
    "image/heif": _open_heif,
}


def _media_type(source: Source, data: bytes) -> str | None:
    media_type = sniff_media_type(data[:64])
    if media_type != "image/tiff":
        return media_type
    if data[8:10] == b"CR":
        return "image/x-canon-cr2"
    suffix = source.path[source.path.rfind(".") :].lower()
    if suffix in TIFF_RAW_SUFFIXES:
        # Their first IFD is a thumbnail, and Pillow would take it for the picture.
        return _RAW_MEDIA_TYPES[suffix]
    return media_type


_RAW_MEDIA_TYPES = {
    ".dng": "image/x-adobe-dng",
    ".cr2": "image/x-canon-cr2",
    ".nef": "image/x-nikon-nef",
    ".arw": "image/x-sony-arw",
    ".pef": "image/x-pentax-pef",
    ".srw": "image/x-samsung-srw",
}


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


def _jpeg_pixels(image: Image.Image, data: bytes) -> UInt8Array | None:
    """The same pixels as Pillow's in 1/2.5 to 1/1.5 of its time (simplejpeg 1.9, Pillow 13.0).

    None for whatever is not flawless and common: Pillow then says what is wrong, or goes on.
    """
    if image.mode not in {"RGB", "L"}:
        return None
    # Of the size that was weighed, whatever another reading of the header may come to.
    pixels = np.empty((image.height, image.width, 3), np.uint8)
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


def crop_positions(width: int, height: int, size: int, count: int) -> tuple[tuple[int, int], ...]:
    """Upper left corners (x, y) of at most `count` square windows of `size` pixels.

    They depend on the image's size alone, lie on an even grid over the whole of it with the
    image's proportions, and don't leave it; a picture of exactly `size` gives the one window that
    there is. Raises ValueError where no window fits.
    """
    if min(width, height) < size:
        raise ValueError(f"no window of {size} px fits into {width}x{height}")
    most_columns, most_rows = -(-width // size), -(-height // size)
    columns, rows = 1, 1
    while True:
        # Grow the side along which windows lie further apart, while the count allows.
        wider = width / columns >= height / rows
        grown = (columns + wider, rows + (not wider))
        if grown[0] * grown[1] > count or grown[0] > most_columns or grown[1] > most_rows:
            break
        columns, rows = grown
    return tuple((x, y) for y in _spread(height, size, rows) for x in _spread(width, size, columns))


def _spread(length: int, size: int, count: int) -> list[int]:
    if count == 1:
        return [(length - size) // 2]
    return [round(step * (length - size) / (count - 1)) for step in range(count)]


def cut_crops(pixels: UInt8Array, size: int, positions: tuple[tuple[int, int], ...]) -> UInt8Array:
    """The windows (N, size, size, 3) of `pixels` (H, W, 3) at `positions`, copied."""
    return np.stack([pixels[y : y + size, x : x + size] for x, y in positions])
