"""GIF89a blocks: comments and application extensions."""

from __future__ import annotations

from fakescan.provenance import xmp
from fakescan.provenance.metadata import MAX_VALUE_BYTES, MAX_XMP_BYTES, Metadata, decode_text

_MAX_SUB_BLOCKS = 500_000  # of 255 bytes each: 120 MB of pictures
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_COMMENT, _APPLICATION = 0xFE, 0xFF


def walk(data: bytes, metadata: Metadata) -> None:
    """Read the comments and application extensions of a GIF."""
    metadata.width = int.from_bytes(data[6:8], "little")
    metadata.height = int.from_bytes(data[8:10], "little")
    position = 13 + _palette_bytes(data[10:11])
    sub_blocks = 0
    while position < len(data):
        kind = data[position]
        if kind == _TRAILER:
            return
        if kind not in {_EXTENSION, _IMAGE}:
            break
        if not metadata.count_chunk():
            return
        if kind == _IMAGE:
            # Descriptor, local palette, and the code size before the sub-blocks.
            first = position + 11 + _palette_bytes(data[position + 9 : position + 10])
        else:
            first = position + 2
        end = first
        while end < len(data) and data[end] and sub_blocks < _MAX_SUB_BLOCKS:
            end += data[end] + 1
            sub_blocks += 1
        if sub_blocks >= _MAX_SUB_BLOCKS:
            metadata.limit_reached = True
            return
        if kind == _EXTENSION:
            _read_extension(data, position, first, min(end, len(data)), metadata)
        position = end + 1
    metadata.malformed = True  # it never reached the trailer


def _palette_bytes(flags: bytes) -> int:
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _read_extension(data: bytes, position: int, first: int, end: int, metadata: Metadata) -> None:
    label = data[position + 1] if position + 1 < len(data) else 0
    if label == _COMMENT:
        text = decode_text(_join(data, first, end, MAX_VALUE_BYTES))
        metadata.add("gif_comment", "", "GIF:Comment", position, text)
    elif label == _APPLICATION:
        application = data[first + 1 : first + 12]
        if application == b"XMP DataXMP":
            # The packet stands bare; the 258 bytes after it only steer readers of sub-blocks.
            packet = data[first + 12 : min(end, first + 12 + MAX_XMP_BYTES)]
            last_tag = packet.find(b">", packet.rfind(b"</"))
            xmp.read(packet[: last_tag + 1], position, metadata)
        elif application.startswith(b"C2PA_GIF"):
            metadata.mark_manifest(position)


def _join(data: bytes, first: int, end: int, limit: int) -> bytes:
    joined = bytearray()
    while first < end and len(joined) < limit:
        joined += data[first + 1 : first + 1 + data[first]]
        first += data[first] + 1
    return bytes(joined)
