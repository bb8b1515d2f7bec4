"""NovelAI's signature over pixels and settings: the one generator's proof that is not C2PA.

github.com/NovelAI/novelai-image-metadata publishes key and layout: Ed25519 over the RGB bytes
followed by the comment as JSON, as Python writes it, without its `signed_hash`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec

from fakescan.provenance.container import read_metadata
from fakescan.records import DecodedImage, Evidence, Says, Tier

_PUBLIC_KEY = "Y2JcQAOhLwzwSDUJPNgL04nS0Tbqm7cSRc4xk0vRMic="
_FIELDS = frozenset({("png_text", "Comment"), ("exif", "UserComment")})
_OF_A_PICTURE = re.compile(r"Infill|Img2Img|Image2Image")  # requests that change one
_MEDIA_TYPES = frozenset({"image/png", "image/webp"})  # what NovelAI delivers


def read_signature(image: DecodedImage, stealth_texts: list[str]) -> Evidence | None:
    """Proof that NovelAI made exactly these pixels; None where there is none, or it fails.

    The signature covers the bytes of the colours alone. Where transparency, further frames or
    another shape of the same bytes can show something else, it is only a hint.
    `stealth_texts` are the texts found in the pixels' lowest bits. Needs `cryptography`, which
    the extra `c2pa` brings.
    """
    for text, location, offset in _candidates(image, stealth_texts):
        comment = _parse_comment(text)
        signature = comment.pop("signed_hash", None)
        if isinstance(signature, str) and _verify(image, comment, signature):
            return Evidence(
                signal="novelai_signature",
                rule="novelai-signature",
                says=_says(comment),
                tier=Tier.PROOF if _shows_what_was_signed(image, comment) else Tier.WEAK,
                source="NovelAI",
                location=location,
                offset=offset,
                value=signature,
            )
    return None


def _candidates(
    image: DecodedImage, stealth_texts: list[str]
) -> Iterator[tuple[str, str, int | None]]:
    """Texts that may hold a signed comment: text, location, offset in the file."""
    for text in stealth_texts:
        yield text, "Pixels:alpha lowest bits", None
    if image.media_type in _MEDIA_TYPES and b"signed_hash" in image.data:
        for field in read_metadata(image.data, image.media_type).fields:
            if (field.signal, field.name) in _FIELDS:
                yield field.value, field.location, field.offset


def _parse_comment(text: str) -> dict[str, object]:
    """The innermost comment: WebP and stealth texts wrap it once more."""
    comment: dict[str, object] = {}
    for _ in range(3):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(parsed, dict):
            break
        comment = parsed
        inner = parsed.get("Comment")
        if not isinstance(inner, str):
            break
        text = inner
    return comment


def _says(comment: dict[str, object]) -> Says:
    kind = comment.get("request_type")
    return Says.AI_EDIT if isinstance(kind, str) and _OF_A_PICTURE.search(kind) else Says.AI


def _shows_what_was_signed(image: DecodedImage, comment: dict[str, object]) -> bool:
    height, width = image.pixels.shape[:2]
    shape = (comment.get("width", width), comment.get("height", height))
    # 254: the lowest bits of alpha hold the settings.
    is_opaque = image.alpha is None or bool((image.alpha >= 254).all())
    return shape == (width, height) and is_opaque and not image.has_more_frames


def _verify(image: DecodedImage, comment: dict[str, object], signature: str) -> bool:
    if find_spec("cryptography") is None:
        return False
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(_PUBLIC_KEY))
    try:
        message = image.pixels.tobytes() + json.dumps(comment).encode()
        key.verify(base64.b64decode(signature), message)
    except (InvalidSignature, ValueError, RecursionError):
        # ValueError: no base64; RecursionError: a comment nested as no generator nests it.
        return False
    return True
