"""What is an image: by a file's first bytes, or by its suffix."""

from __future__ import annotations

import os
import re

HEAD_BYTES = 64
"""How much of a file `sniff_media_type` wants to see."""

TIFF_RAW_MEDIA_TYPES = {
    ".dng": "image/x-adobe-dng",
    ".cr2": "image/x-canon-cr2",
    ".nef": "image/x-nikon-nef",
    ".arw": "image/x-sony-arw",
    ".pef": "image/x-pentax-pef",
    ".srw": "image/x-samsung-srw",
}
"""By the suffixes of formats that share TIFF's first bytes: only the name tells them apart."""

IMAGE_SUFFIXES = frozenset(TIFF_RAW_MEDIA_TYPES).union(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
    (".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".heics", ".heifs", ".hif"),
    (".cr3", ".raf", ".rw2", ".orf"),
)

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"FUJIFILMCCD-RAW", "image/x-fuji-raf"),
    (b"IIU\x00", "image/x-panasonic-rw2"),
    (b"IIRO", "image/x-olympus-orf"),
    (b"IIRS", "image/x-olympus-orf"),
    (b"MMOR", "image/x-olympus-orf"),
)

_BRANDS = {  # ISO/IEC 23008-12 and the AV1 image format: major and compatible brands
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"crx ": "image/x-canon-cr3",
}


def sniff_media_type(data: bytes) -> str | None:
    """Media type by the first `HEAD_BYTES` bytes of a file, of which `data` may have more.

    None for what is no image.
    """
    head = data[:HEAD_BYTES]
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            if media_type == "image/bmp" and not _looks_like_bmp(head):
                return None
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        # "mif1" only says that it is some HEIF; a compatible brand may say which.
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))]
        types = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return next((found for found in types if found != "image/heif"), next(iter(types), None))
    return None


def _looks_like_bmp(head: bytes) -> bool:
    # "BM" opens many a text; a bitmap's information header has one of few sizes.
    return int.from_bytes(head[14:18], "little") in {12, 40, 52, 56, 64, 108, 124}


def has_image_suffix(path: str) -> bool:
    """Whether the name claims to be an image."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


OVERLAY_SOFTWARE = "fakescan"
"""What an overlay's PNG text `Software` says, within its first `HEAD_BYTES`."""


def is_overlay_name(name: str) -> bool:
    """Whether a file may be an overlay by its name, which ends in twelve digits of a SHA-256.

    So may one that is being written, by its temporary name.
    """
    return re.search(r"-[0-9a-f]{12}\.png(\.tmp-\d+-[0-9a-f]{8})?$", name) is not None


def is_overlay(head: bytes) -> bool:
    """Whether a file that begins so is an overlay."""
    return b"tEXtSoftware\0" + OVERLAY_SOFTWARE.encode() in head


def decoding_hint(path: str) -> str:
    """What of a name changes how the same bytes are read: a RAW suffix, or that of an image."""
    suffix = os.path.splitext(path)[1].lower()
    return suffix if suffix in TIFF_RAW_MEDIA_TYPES else "image" * has_image_suffix(path)
