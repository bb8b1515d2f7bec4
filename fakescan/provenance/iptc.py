"""IPTC-IIM records (IIM 4.2), and the Photoshop image resources that carry them."""

from __future__ import annotations

from fakescan.provenance.metadata import Metadata, decode_text

_IIM_RESOURCE = 0x0404
_NAMES = {
    "2:40": "SpecialInstructions",
    "2:65": "OriginatingProgram",
    "2:80": "By-line",
    "2:103": "OriginalTransmissionReference",
    "2:110": "Credit",
    "2:115": "Source",
    "2:120": "Caption-Abstract",
}


def read_resources(data: bytes, offset: int, metadata: Metadata) -> None:
    """Read the IIM records among Photoshop image resources ("8BIM" blocks)."""
    position = 0
    while data[position : position + 4] == b"8BIM" and metadata.count_chunk():
        resource = int.from_bytes(data[position + 4 : position + 6], "big")
        position += 6
        if position >= len(data):
            metadata.malformed = True
            return
        position += (data[position] + 2) & ~1  # a Pascal string, padded to even
        size = int.from_bytes(data[position : position + 4], "big")
        position += 4
        if position + size > len(data):
            metadata.malformed = True
        if resource == _IIM_RESOURCE:
            read_records(data[position : position + size], offset, metadata)
        position += (size + 1) & ~1


def read_records(data: bytes, offset: int, metadata: Metadata) -> None:
    """Add each text dataset as a field `iptc` named `record:dataset`."""
    position = 0
    while data[position : position + 1] == b"\x1c" and metadata.count_chunk():
        head = data[position : position + 5]
        size = int.from_bytes(head[3:5], "big")
        position += 5
        if len(head) < 5 or size & 0x8000 or position + size > len(data):
            # The high bit announces an extended size, which text datasets never need.
            metadata.malformed = True
            return
        name = f"{head[1]}:{head[2]}"
        if name in _NAMES:
            text = decode_text(data[position : position + size])
            metadata.add("iptc", name, f"IPTC:{_NAMES[name]}", offset, text)
        position += size
