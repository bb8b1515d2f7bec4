"""JPEG segments (ITU-T T.81, B.1.1.2) and what applications put into them."""

from __future__ import annotations

import re

from fakescan.provenance import icc, iptc, tiff, trailer, xmp
from fakescan.provenance.metadata import MAX_XMP_BYTES, Metadata, decode_text

_EOI, _SOS, _COM = 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP11, _APP13, _APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FILL = re.compile(rb"\xff+")

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_MAX_PHOTOSHOP_SEGMENTS = 16  # 1 MiB, paths and old thumbnails included
_MAX_LABEL_SEGMENTS = 16  # the label stands at the front; all of a file would cost seconds
_AIGC = re.compile(rb"AIGC\s{0,8}\{[^{}]{1,4000}+\}")


def walk(data: bytes, metadata: Metadata, start: int = 0) -> None:
    """Read the segments of the JPEG that begins at `start`, and the trailer after it."""
    if data[start : start + 2] != b"\xff\xd8":
        metadata.malformed = True
        return
    parts = _Parts()
    position = start + 2
    while True:
        fill = _FILL.match(data, position)
        if fill is None:
            metadata.malformed = True
            break
        position = fill.end() - 1
        marker = data[position + 1] if position + 1 < len(data) else None
        if marker == _EOI:
            trailer.read(data, position + 2, len(data), metadata)
            break
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        end = position + 2 + size
        if marker is None or size < 2 or end > len(data):
            metadata.malformed = True
            break
        if not metadata.count_chunk():
            break
        parts.read(marker, data[position + 4 : end], position, data, metadata)
        if marker == _SOS:
            # In coded data 0xFF is followed by zero or a restart marker, never by 0xD9. Further
            # scans hold tables, not metadata.
            last = data.find(b"\xff\xd9", end)
            metadata.malformed |= last < 0
            if last >= 0:
                trailer.read(data, last + 2, len(data), metadata)
            break
        position = end
    parts.join(metadata)


class _Parts:
    """Values that are spread over several segments."""

    def __init__(self) -> None:
        self._extended: dict[bytes, list[tuple[int, bytes]]] = {}
        self._extended_bytes = 0
        self._extended_offset = 0
        self._photoshop: list[bytes] = []
        self._photoshop_offset = 0
        self._labels_left = _MAX_LABEL_SEGMENTS

    def read(
        self, marker: int, payload: bytes, position: int, data: bytes, metadata: Metadata
    ) -> None:
        if marker in _FRAMES:
            if metadata.width is None:
                metadata.height = int.from_bytes(payload[1:3], "big")
                metadata.width = int.from_bytes(payload[3:5], "big")
        elif marker == _COM:
            text = decode_text(payload).strip("\0")
            metadata.add("jpeg_comment", "", "File:Comment", position, text)
        elif marker == _APP1:
            self._read_app1(payload, position, data, metadata)
        elif marker == _APP2 and payload.startswith(_ICC):
            if payload[len(_ICC) : len(_ICC) + 1] == b"\x01":
                icc.read(payload[len(_ICC) + 2 :], position, metadata)
        elif marker == _APP2 and payload.startswith(b"MPF\0"):
            metadata.add("mpf", "", "MPF:MPFVersion", position, "MPF")
        elif marker == _APP11 and payload.startswith(b"JP"):
            metadata.mark_manifest(position)
        elif marker == _APP13 and payload.startswith(_PHOTOSHOP):
            self._photoshop_offset = self._photoshop_offset or position
            if len(self._photoshop) < _MAX_PHOTOSHOP_SEGMENTS:
                self._photoshop.append(payload[len(_PHOTOSHOP) :])
        elif _APP0 <= marker <= _APP15:
            self._read_label(marker, payload, position, metadata)

    def _read_app1(self, payload: bytes, position: int, data: bytes, metadata: Metadata) -> None:
        if payload.startswith(_EXIF):
            tiff.walk(data, position + 10, position + 4 + len(payload), metadata)
        elif payload.startswith(_XMP):
            xmp.read(payload[len(_XMP) :], position, metadata)
        elif payload.startswith(_EXTENDED_XMP):
            self._keep_extended(payload[len(_EXTENDED_XMP) :], position, metadata)
        else:
            self._read_label(_APP1, payload, position, metadata)

    def _read_label(self, marker: int, payload: bytes, position: int, metadata: Metadata) -> None:
        """GB 45438-2025 lets its label stand bare beside the JFIF header."""
        self._labels_left -= 1
        found = _AIGC.search(payload) if self._labels_left >= 0 else None
        if found:
            location = f"APP{marker - _APP0}:AIGC"
            metadata.add("jpeg_app", "AIGC", location, position, decode_text(found.group()))

    def _keep_extended(self, payload: bytes, position: int, metadata: Metadata) -> None:
        """XMP Part 3, 1.1.3.1: a 32-byte GUID, the full length, this part's offset, the part."""
        if self._extended_bytes + len(payload) > MAX_XMP_BYTES:
            metadata.limit_reached = True
            return
        self._extended_bytes += len(payload)
        self._extended_offset = self._extended_offset or position
        parts = self._extended.setdefault(payload[:32], [])
        parts.append((int.from_bytes(payload[36:40], "big"), payload[40:]))

    def join(self, metadata: Metadata) -> None:
        for parts in self._extended.values():
            packet = b"".join(part for _, part in sorted(parts))
            xmp.read(packet, self._extended_offset, metadata)
        if self._photoshop:
            resources = b"".join(self._photoshop)
            iptc.read_resources(resources, self._photoshop_offset, metadata)
