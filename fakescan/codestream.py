"""The coded picture inside a file: what a decoder is shown of the bytes, and what it isn't."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# PNG chunks that decide pixels. All others are kept from the decoder: 200,000 text chunks or an
# inflating colour profile cost seconds and decide nothing.
_PNG_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))

# JPEG's APP0 (JFIF) and APP14 (Adobe) say how colours are coded; other application segments and
# comments are kept from the decoder, which would read EXIF of any size for its resolution.
_JPEG_COLOR_SEGMENTS = frozenset((0xE0, 0xEE))
_JPEG_APPLICATION = range(0xE0, 0xF0)
_JPEG_COMMENT = 0xFE
_JPEG_START_OF_SCAN = 0xDA
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD9)))

_ORIENTATION_TAG = 0x0112
_SHORT = 3
_MOST_TAGS = 512


def keep_codestream(media_type: str, data: bytes) -> bytes:
    """The file without metadata, as far as its decoder should see it."""
    if media_type == "image/png":
        return b"".join((data[:8], *_png_chunks(data, _PNG_PIXEL_CHUNKS)))
    if media_type == "image/jpeg":
        kept, scan = [b"\xff\xd8"], len(data)
        for marker, start, end in _jpeg_segments(data):
            if marker == _JPEG_START_OF_SCAN:
                scan = start
                break
            dropped = marker in _JPEG_APPLICATION and marker not in _JPEG_COLOR_SEGMENTS
            if not dropped and marker != _JPEG_COMMENT:
                kept.append(data[start:end])
        return b"".join((*kept, memoryview(data)[scan:]))
    return data


def ends_early(media_type: str, data: bytes) -> bool:
    """Whether the bytes stop before the format says that they end."""
    if media_type == "image/jpeg":
        # A thumbnail in the metadata has an end of its own.
        scans = (
            start for marker, start, _ in _jpeg_segments(data) if marker == _JPEG_START_OF_SCAN
        )
        return data.find(b"\xff\xd9", next(scans, len(data))) < 0
    if media_type == "image/png":
        return not any(True for _ in _png_chunks(data, frozenset((b"IEND",))))
    if media_type == "image/webp":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if media_type == "image/gif":
        return not data.rstrip(b"\0").endswith(b";")
    if media_type == "image/bmp":
        return len(data) < int.from_bytes(data[2:6], "little")
    if media_type in {"image/avif", "image/heic", "image/heif"}:
        return _boxes_end_early(data)
    return False


def find_orientation(media_type: str, data: bytes) -> int:
    """EXIF's orientation, 1 to 8, of a JPEG or PNG; 1 where there is none."""
    if media_type == "image/jpeg":
        for marker, start, end in _jpeg_segments(data):
            if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
                return parse_orientation(data[start + 10 : end])
            if marker == _JPEG_START_OF_SCAN:
                break
    elif media_type == "image/png":
        for chunk in _png_chunks(data, frozenset((b"eXIf",))):
            return parse_orientation(chunk[8:-4])
    return 1


def parse_orientation(tiff: bytes) -> int:
    """Orientation, 1 to 8, in an EXIF block that begins with its byte order; 1 for none."""
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_TAGS), 12):
        if entry + 12 > len(tiff):
            break
        tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == _ORIENTATION_TAG and kind == _SHORT:
            return value if 1 <= value <= 8 else 1
    return 1


def has_more_frames(media_type: str, data: bytes) -> bool:
    """Whether a PNG is animated, or a JPEG holds further pictures (CIPA DC-007, MPO)."""
    if media_type == "image/png":
        return any(True for _ in _png_chunks(data, frozenset((b"acTL",))))
    if media_type == "image/jpeg":
        return any(
            marker == 0xE2 and data[start + 4 : start + 8] == b"MPF\0"
            for marker, start, _ in _jpeg_segments(data)
        )
    return False


def _png_chunks(data: bytes, names: frozenset[bytes]) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name in names:
            yield data[at:end]
        if name == b"IEND":
            break
        at = end


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments up to the first scan, which comes last."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1  # decoders skip stray bytes between segments
            continue
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _JPEG_BARE:
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        if marker == _JPEG_START_OF_SCAN:
            return
        at = end


def _boxes_end_early(data: bytes) -> bool:
    # ISO/IEC 14496-12: size 1 announces 64 bits of it, size 0 reaches to the end of the file.
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            return False
        at += size
    return at > len(data)
