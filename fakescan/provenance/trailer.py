"""Bytes after a picture's end: phones append their own data there."""

from __future__ import annotations

from fakescan.provenance.metadata import MAX_VALUE_BYTES, Metadata, decode_text

_MAX_ENTRIES = 64  # phones write under 20


def read(data: bytes, start: int, end: int, metadata: Metadata) -> None:
    """Read `data[start:end]`, which follows the picture: Samsung's blocks, an appended video."""
    if data[start + 4 : start + 8] == b"ftyp":
        brand = decode_text(data[start + 8 : start + 12])
        metadata.add("trailer", "video", "Trailer:MotionPhoto", start, brand)
    if data.endswith(b"SEFT", start, end):
        _read_samsung(data, start, end, metadata)


def _read_samsung(data: bytes, start: int, end: int, metadata: Metadata) -> None:
    """Samsung's SEF directory: "SEFH" … length "SEFT", entries count back from "SEFH".

    Layout as read by exiftool's Samsung module.
    """
    head = end - 8 - int.from_bytes(data[end - 8 : end - 4], "little")
    if head < start or data[head : head + 4] != b"SEFH":
        metadata.malformed = True
        return
    metadata.add("trailer", "SEFT", "Trailer:Samsung", head, "SEFT")
    count = int.from_bytes(data[head + 8 : head + 12], "little")
    for index in range(count):
        entry = data[head + 12 + 12 * index : head + 24 + 12 * index]
        if index >= _MAX_ENTRIES:
            metadata.limit_reached = True
            return
        if len(entry) < 12:
            metadata.malformed = True
            return
        block = head - int.from_bytes(entry[4:8], "little")
        size = int.from_bytes(entry[8:12], "little")
        if block < start or size < 8 or block + size > head:
            metadata.malformed = True
            continue
        length = int.from_bytes(data[block + 4 : block + 8], "little")
        name = decode_text(data[block + 8 : block + 8 + min(length, 64)])
        first = block + 8 + length
        value = data[first : min(block + size, first + MAX_VALUE_BYTES)]
        location = f"Trailer:Samsung:{name}"
        metadata.add("trailer", name, location, block, decode_text(value) or name)
