"""The description of an ICC profile (ICC.1:2022, 7.3 and 9.2.41)."""

from __future__ import annotations

from fakescan.provenance.metadata import Metadata, decode_text

_MAX_TAGS = 64  # profiles in use have under 20


def read(profile: bytes, offset: int, metadata: Metadata) -> None:
    """Add the profile's description as the field `icc`."""
    count = int.from_bytes(profile[128:132], "big")
    for index in range(min(count, _MAX_TAGS)):
        entry = profile[132 + 12 * index : 144 + 12 * index]
        if entry[:4] == b"desc":
            start = int.from_bytes(entry[4:8], "big")
            text = profile[start : start + min(int.from_bytes(entry[8:12], "big"), 512)]
            metadata.add("icc", "", "ICC_Profile:ProfileDescription", offset, _decode(text))
            return


def _decode(tag: bytes) -> str:
    if tag[:4] == b"mluc":
        length, start = int.from_bytes(tag[20:24], "big"), int.from_bytes(tag[24:28], "big")
        return tag[start : start + length].decode("utf-16-be", "replace").rstrip("\0")
    return decode_text(tag[12 : 12 + int.from_bytes(tag[8:12], "big")].rstrip(b"\0"))
