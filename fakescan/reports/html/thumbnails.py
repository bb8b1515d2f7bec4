"""Small pictures as data URIs, made from the files that a report shows."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, JpegImagePlugin

from fakescan.codestream import keep_codestream
from fakescan.images import compute_sha256, decode_image, read_bytes, upright
from fakescan.records import Source, Unreadable
from fakescan.reports.html import PicturedFile

THUMBNAIL_SIDE = 96
THUMBNAIL_BYTES = 3_584
OVERLAY_SIDE = 480
OVERLAY_BYTES = 24_576

MAX_PIXELS = 64_000_000
"""Decoded, such a picture takes 256 MB, and `_WORKERS` of them are decoded at a time."""

_WORKERS = 4
_QUALITIES = (75, 55, 35, 15, 0)


def make_thumbnails(pictured: Iterable[PicturedFile]) -> list[str | None]:
    """A data URI of at most `THUMBNAIL_BYTES` of WebP for each file, upright.

    None where the file can't be read, is not the one that was judged any more, or is too large.
    """
    return _map(_make_thumbnail, pictured)


def make_overlays(pictured: Iterable[PicturedFile]) -> list[str | None]:
    """A data URI of at most `OVERLAY_BYTES` of WebP for each file's overlay; None as above."""
    return _map(_make_overlay, pictured)


def _map(
    make: Callable[[PicturedFile], str | None], pictured: Iterable[PicturedFile]
) -> list[str | None]:
    with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
        return list(pool.map(make, pictured))


def _make_thumbnail(file: PicturedFile) -> str | None:
    data = read_bytes(file.source)
    if isinstance(data, Unreadable) or compute_sha256(data) != file.sha256:
        return None
    is_jpeg = file.media_type == "image/jpeg"
    image = _decode_small_jpeg(data) if is_jpeg else _decode(file.source, data)
    if image is None:
        return None
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    pixels = upright(np.asarray(image), file.orientation or 1)
    return _encode(Image.fromarray(pixels), THUMBNAIL_BYTES)


def _make_overlay(file: PicturedFile) -> str | None:
    source = Source(file.overlay or "")
    data = read_bytes(source)
    image = None if isinstance(data, Unreadable) else _decode(source, data)
    if image is None:
        return None
    image.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
    return _encode(image, OVERLAY_BYTES)


def _decode_small_jpeg(data: bytes) -> Image.Image | None:
    """The picture at the smallest of the sizes that JPEG decodes to and that suffices."""
    try:
        with JpegImagePlugin.jpeg_factory(io.BytesIO(keep_codestream("image/jpeg", data))) as image:
            image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
            if image.width * image.height > MAX_PIXELS:
                return None
            return image.convert("RGB")
    except (OSError, MemoryError):  # the scan has decoded these very bytes, so little is left
        return None


def _decode(source: Source, data: bytes) -> Image.Image | None:
    decoded = decode_image(source, data, max_pixels=MAX_PIXELS)
    if isinstance(decoded, Unreadable):
        return None
    image = Image.fromarray(decoded.pixels)
    if decoded.alpha is None:
        return image
    # What lies under transparent pixels is often garbage that nobody has ever seen.
    grey = Image.new("RGB", image.size, (128, 128, 128))
    return Image.composite(image, grey, Image.fromarray(decoded.alpha))


def _encode(image: Image.Image, max_bytes: int) -> str | None:
    for quality in _QUALITIES:
        encoded = io.BytesIO()
        image.save(encoded, "WEBP", quality=quality)
        if encoded.tell() <= max_bytes:
            return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    return None
