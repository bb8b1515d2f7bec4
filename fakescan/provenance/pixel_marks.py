"""Evidence in pixels that are decoded already: settings in the lowest bits, open watermarks."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from fakescan.provenance.marks import MAX_EVIDENCE_CHARACTERS, find_marks
from fakescan.provenance.metadata import MAX_VALUE_BYTES, Field, decode_text
from fakescan.provenance.novelai import read_signature
from fakescan.provenance.thumbnail import compare_thumbnail
from fakescan.provenance.watermarks import read_watermarks
from fakescan.records import DecodedImage, Evidence, Says, Tier

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

_MAGIC_BYTES = 15
_MAGICS = {  # whether the text after it is compressed
    b"stealth_pnginfo": False,
    b"stealth_pngcomp": True,
    b"stealth_rgbinfo": False,
    b"stealth_rgbcomp": True,
}
_LENGTH_BYTES = 4


def read_pixel_marks(image: DecodedImage, *, watermarks: bool = False) -> tuple[Evidence, ...]:
    """Evidence in the pixels of `image`: stealth settings, NovelAI's signature, whether EXIF's
    thumbnail shows the picture, and watermarks.

    The first three cost a millisecond or two; `watermarks` costs about 0.1 s and
    finds only what no lossy encoder has touched. What is not found says nothing.
    """
    evidence: list[Evidence] = []
    planes = [("alpha", image.alpha[:, :, None])] if image.alpha is not None else []
    stealth_texts: list[str] = []
    for name, plane in (*planes, ("RGB", image.pixels)):
        text = _read_stealth(plane)
        if text is not None:
            stealth_texts.append(text)
            evidence.append(_interpret_stealth(text, f"Pixels:{name} lowest bits"))
    found = (read_signature(image, stealth_texts), compare_thumbnail(image))
    evidence.extend(one for one in found if one is not None)
    if watermarks:
        evidence.extend(read_watermarks(image.pixels))
    return tuple(evidence)


def _read_stealth(plane: UInt8Array) -> str | None:
    """The text in the lowest bits of `plane`, uint8 (H, W, C), column by column; None if none.

    Format of github.com/ashen-sensored/sd_webui_stealth_pnginfo: magic, bits as a 32-bit number,
    UTF-8 text, gzipped where the magic says so.
    """
    head = _lowest_bits(plane, _MAGIC_BYTES + _LENGTH_BYTES)
    magic = head[:_MAGIC_BYTES]
    if magic not in _MAGICS:
        return None
    length = int.from_bytes(head[_MAGIC_BYTES:], "big") // 8
    text = _lowest_bits(plane, len(head) + min(length, MAX_VALUE_BYTES))[len(head) :]
    if _MAGICS[magic]:
        try:
            text = zlib.decompressobj(wbits=31).decompress(text, MAX_VALUE_BYTES)
        except zlib.error:
            text = b""  # the magic alone, 120 bits, is never there by accident
    return decode_text(text) or decode_text(magic)


def _lowest_bits(plane: UInt8Array, count: int) -> bytes:
    """The first `count` bytes in the lowest bits of `plane`, fewer where it is too small."""
    import numpy as np

    height, _, channels = plane.shape
    columns = -(-8 * count // (height * channels))
    bits = plane[:, :columns].transpose(1, 0, 2).ravel()[: 8 * count] & 1
    return np.packbits(bits).tobytes()


def _interpret_stealth(text: str, location: str) -> Evidence:
    """What the hidden settings say, by the same marks as settings in the open.

    Anybody hides what they like with the same tool, so text that no mark knows is only a hint.
    """
    hits = [one.evidence for one in find_marks(_stealth_fields(text))]
    found = next(
        (
            one
            for tier in Tier
            for says in (Says.AI, Says.AI_EDIT)
            for one in hits
            if (one.tier, one.says) == (tier, says)
        ),
        None,
    )
    return Evidence(
        signal="pixel_lsb",
        rule="stealth-pnginfo",
        says=found.says if found else Says.AI,
        tier=found.tier if found else Tier.WEAK,
        source=found.source if found else None,
        location=location,
        offset=None,
        value=text[:MAX_EVIDENCE_CHARACTERS],
    )


def _stealth_fields(text: str) -> list[Field]:
    """NovelAI's JSON, or web UI's plain parameters, as the PNG chunks that they stand for."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    # JSON is either one object with the chunks, or the content of a chunk.
    chunks = parsed if isinstance(parsed, dict) else {}
    values = {"parameters": text, "Comment": text, **chunks}
    return [
        Field("png_text", name, "", 0, value)
        for name, value in values.items()
        if isinstance(value, str)
    ]
