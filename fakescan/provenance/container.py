"""The one bounded walk over a file's bytes: containers to named fields. Decodes no pixels."""

from __future__ import annotations

from fakescan.provenance import gif, isobmff, jpeg, png, riff, tiff
from fakescan.provenance.metadata import Metadata


def read_metadata(data: bytes, media_type: str) -> Metadata:
    """Every named field of a file of `media_type`; never raises, whatever the bytes.

    Damage gives what could be read, with `malformed`; a cap of metadata.py, `limit_reached`.
    """
    metadata = Metadata()
    match media_type:
        case "image/jpeg":
            jpeg.walk(data, metadata)
        case "image/png":
            png.walk(data, metadata)
        case "image/webp":
            riff.walk(data, metadata)
        case "image/gif":
            gif.walk(data, metadata)
        case "image/heic" | "image/heif" | "image/avif" | "image/x-canon-cr3":
            isobmff.walk(data, metadata)
        case "image/x-fuji-raf":
            # Fujifilm's RAF holds a whole JPEG with the metadata; its address stands at 84.
            start = int.from_bytes(data[84:88], "big")
            jpeg.walk(data, metadata, start)
        case _ if data[:2] in {b"II", b"MM"}:  # TIFF, and the camera RAW formats built on it
            tiff.walk(data, 0, len(data), metadata)
        case _:
            pass  # BMP has no room for metadata
    return metadata
