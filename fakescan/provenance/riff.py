"""WebP's RIFF chunks (RFC 9649)."""

from __future__ import annotations

from fakescan.provenance import icc, tiff, trailer, xmp
from fakescan.provenance.metadata import MAX_XMP_BYTES, Metadata


def walk(data: bytes, metadata: Metadata) -> None:
    """Read the chunks of a WebP file, and the trailer after the RIFF."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        metadata.malformed = True
        end = len(data)
    position = 12
    while position + 8 <= end and metadata.count_chunk():
        kind = data[position : position + 4]
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        first = position + 8
        if first + size > end:
            metadata.malformed = True
        if kind == b"EXIF":
            prefix = 6 if data.startswith(b"Exif\0\0", first) else 0
            tiff.walk(data, first + prefix, min(first + size, end), metadata)
        elif kind == b"XMP ":
            packet = data[first : min(first + size, end, first + MAX_XMP_BYTES + 1)]
            xmp.read(packet, position, metadata)
        elif kind == b"ICCP":
            icc.read(data[first : min(first + size, first + MAX_XMP_BYTES)], position, metadata)
        elif kind == b"C2PA":
            metadata.mark_manifest(position)
        elif kind == b"VP8X":
            metadata.width = 1 + int.from_bytes(data[first + 4 : first + 7], "little")
            metadata.height = 1 + int.from_bytes(data[first + 7 : first + 10], "little")
        position = first + size + (size & 1)
    trailer.read(data, end, len(data), metadata)
