"""PNG chunks (W3C PNG, third edition) and what tools put into their text."""

from __future__ import annotations

import binascii
import re

from fakescan.provenance import icc, iptc, tiff, trailer, xmp
from fakescan.provenance.metadata import (
    MAX_DATA_CHUNKS,
    MAX_SETTINGS_BYTES,
    MAX_VALUE_BYTES,
    MAX_XMP_BYTES,
    Metadata,
    decode_text,
)

_MAX_PAYLOAD = 4 * 1024 * 1024  # compressed or not: far above every value that is kept
# comf is the chunk of ComfyUI's animated PNG, built like tEXt.
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})
_KINDS = _TEXTS | {b"IHDR", b"eXIf", b"iCCP", b"caBX"}
_XMP_KEYS = frozenset({"XML:com.adobe.xmp", "xmp"})
_SETTINGS_KEYS = frozenset({"prompt", "workflow", "Prompt", "Workflow", "parameters"})
_RAW_PROFILE = re.compile(r"Raw profile type (\w{1,8})$")


def walk(data: bytes, metadata: Metadata) -> None:
    """Read every chunk, also those after the picture's data, and the trailer after IEND."""
    position = 8
    data_chunks = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + size
        if kind == b"IEND":
            metadata.malformed |= end > len(data)
            trailer.read(data, end, len(data), metadata)
            return
        if kind == b"IDAT":
            data_chunks += 1
            if data_chunks > MAX_DATA_CHUNKS:
                metadata.chunks_left = 0
                metadata.count_chunk()
                return
        elif not metadata.count_chunk():
            return
        elif kind in _KINDS:
            payload = data[position + 8 : min(end - 4, position + 8 + _MAX_PAYLOAD)]
            metadata.limit_reached |= size > _MAX_PAYLOAD
            _read_chunk(kind, payload, position, metadata)
        position = end
    metadata.malformed = True  # it never reached IEND


def _read_chunk(kind: bytes, payload: bytes, position: int, metadata: Metadata) -> None:
    if kind in _TEXTS:
        _read_text(kind, payload, position, metadata)
    elif kind == b"IHDR":
        metadata.width = int.from_bytes(payload[:4], "big")
        metadata.height = int.from_bytes(payload[4:8], "big")
    elif kind == b"eXIf":
        _read_exif(payload, position + 8, metadata)
    elif kind == b"iCCP":
        _, _, profile = payload.partition(b"\0")
        icc.read(metadata.inflate(profile[1:], MAX_XMP_BYTES), position, metadata)
    elif kind == b"caBX":
        metadata.mark_manifest(position)


def _read_text(kind: bytes, payload: bytes, position: int, metadata: Metadata) -> None:
    key, separator, rest = payload.partition(b"\0")
    if not separator:
        metadata.malformed = True
        return
    if metadata.text_left <= 0:
        metadata.limit_reached = True
        return
    keyword = key.decode("latin-1")
    compressed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        compressed = rest[:1] == b"\x01"
        # After flag and method: a language tag and a translated keyword, each ended by NUL.
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    limit = MAX_SETTINGS_BYTES if keyword in _SETTINGS_KEYS else MAX_VALUE_BYTES
    raw_profile = _RAW_PROFILE.match(keyword)
    if keyword in _XMP_KEYS or raw_profile:
        limit = MAX_XMP_BYTES
    if compressed:
        rest = metadata.inflate(rest, limit)
    elif len(rest) > limit:
        metadata.limit_reached = True
        rest = rest[:limit]
    if keyword in _XMP_KEYS:
        # Midjourney keeps its packet in a tEXt chunk, where XMP readers do not look.
        xmp.read(rest, position, metadata)
    elif raw_profile:
        _read_raw_profile(raw_profile.group(1).lower(), rest, position, metadata)
    else:
        location = f"PNG:{kind.decode()}:{keyword}"
        value = decode_text(rest).rstrip("\0")
        # What is just as long as the limit was most likely longer.
        is_cut = len(rest) >= limit or metadata.inflated_left <= 0
        metadata.add("png_text", keyword, location, position, value, limit=limit, is_cut=is_cut)


def _read_raw_profile(kind: str, text: bytes, position: int, metadata: Metadata) -> None:
    """ImageMagick's habit: newline, the kind, the length, then the profile in hexadecimal."""
    digits = b"".join(text.split()[2:])
    try:
        profile = binascii.unhexlify(digits)
    except binascii.Error:
        metadata.malformed = True
        return
    if kind in {"exif", "app1"}:
        if profile.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp.read(profile[29:], position, metadata)
        else:
            # Offsets inside of the decoded profile lead nowhere in the file.
            _read_exif(profile, position, metadata, is_decoded=True)
    elif kind == "xmp":
        xmp.read(profile, position, metadata)
    elif profile.startswith(b"8BIM"):
        iptc.read_resources(profile, position, metadata)
    else:
        iptc.read_records(profile, position, metadata)


def _read_exif(
    payload: bytes, position: int, metadata: Metadata, *, is_decoded: bool = False
) -> None:
    start = 6 if payload.startswith(b"Exif\0\0") else 0
    tiff.walk(payload, start, len(payload), metadata, file_offset=position, is_decoded=is_decoded)
