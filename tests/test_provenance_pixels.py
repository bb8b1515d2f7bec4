"""Marks in pixels: stealth settings, NovelAI's signature, open watermarks."""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from test_provenance_container import PARAMETERS, app1, jpeg, png, text, tiff, user_comment, webp

from fakescan.pipeline import ScanOptions, scan
from fakescan.provenance import (
    describe,
    novelai,
    read_pixel_marks,
    read_provenance,
    with_evidence,
)
from fakescan.records import DecodedImage, Provenance, Reason, Says, Source, Tier, Verdict
from fakescan.store import Store

Pixels = npt.NDArray[np.uint8]


def make_image(
    pixels: Pixels, alpha: Pixels | None = None, data: bytes = b"", media_type: str = "image/png"
) -> DecodedImage:
    return DecodedImage(
        source=Source("x"),
        data=data,
        sha256="",
        media_type=media_type,
        pixels=pixels,
        alpha=alpha,
        bit_depth=8,
        orientation=1,
        has_more_frames=False,
    )


def make_pixels(height: int = 64, width: int = 80, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def photo_like(height: int, width: int) -> Pixels:
    """Colours that vary within a few pixels: the scheme itself fails on flat ones."""
    coarse = np.random.default_rng(5).normal(0, 45, (height // 2, width // 2, 3))
    base = 125 + coarse.repeat(2, axis=0).repeat(2, axis=1)
    return np.clip(base, 40, 215).astype(np.uint8)


def hide(plane: Pixels, payload: bytes) -> Pixels:
    """`payload` in the lowest bits of `plane` (H, W, C), column by column."""
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    flat = plane.transpose(1, 0, 2).reshape(-1).copy()
    flat[: len(bits)] = (flat[: len(bits)] & 0xFE) | bits
    height, width, channels = plane.shape
    return flat.reshape(width, height, channels).transpose(1, 0, 2)


def stealth(magic: bytes, value: str) -> bytes:
    body = value.encode()
    if magic.endswith(b"comp"):
        body = gzip.compress(body)
    return magic + (8 * len(body)).to_bytes(4, "big") + body


@pytest.mark.parametrize("magic", [b"stealth_pnginfo", b"stealth_pngcomp"])
def test_settings_hidden_in_alpha_are_found(magic: bytes) -> None:
    alpha = hide(np.full((64, 80, 1), 255, np.uint8), stealth(magic, PARAMETERS))[:, :, 0]
    (evidence,) = read_pixel_marks(make_image(make_pixels(), alpha))
    assert (evidence.signal, evidence.says, evidence.tier) == ("pixel_lsb", Says.AI, Tier.STRONG)
    assert evidence.value.startswith("a lighthouse")
    assert evidence.source == "Stable Diffusion web UI or a relative of it"


@pytest.mark.parametrize("magic", [b"stealth_rgbinfo", b"stealth_rgbcomp"])
def test_settings_hidden_in_colours_are_found(magic: bytes) -> None:
    pixels = hide(make_pixels(), stealth(magic, PARAMETERS))
    (evidence,) = read_pixel_marks(make_image(pixels))
    assert evidence.location == "Pixels:RGB lowest bits"


@pytest.mark.parametrize(
    "value", ["Copyright Jane Doe", '{"Software": "GIMP"}', '{"Comment": "for my daughter"}']
)
def test_hidden_text_without_settings_is_a_hint_alone(value: str) -> None:
    pixels = hide(make_pixels(), stealth(b"stealth_rgbinfo", value))
    (evidence,) = read_pixel_marks(make_image(pixels))
    assert (evidence.says, evidence.tier) == (Says.AI, Tier.WEAK)


def test_hidden_settings_of_a_repainted_part_are_an_edit() -> None:
    pixels = hide(make_pixels(), stealth(b"stealth_rgbinfo", PARAMETERS + ", Mask blur: 4"))
    (evidence,) = read_pixel_marks(make_image(pixels))
    assert (evidence.says, evidence.tier) == (Says.AI_EDIT, Tier.STRONG)


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({"parameters": PARAMETERS}),
        '{"sui_image_params": {"prompt": "x"}}',
        json.dumps({"prompt": "x", "noise_schedule": "karras", "signed_hash": "AA=="}),
    ],
)
def test_hidden_settings_are_known_however_they_are_wrapped(value: str) -> None:
    pixels = hide(make_pixels(), stealth(b"stealth_rgbinfo", value))
    (evidence,) = read_pixel_marks(make_image(pixels))
    assert (evidence.says, evidence.tier) == (Says.AI, Tier.STRONG)
    assert evidence.source


def test_cut_settings_still_count() -> None:
    alpha = hide(np.full((8, 20, 1), 255, np.uint8), b"stealth_pngcomp" + b"\xff" * 4 + b"\x1f")[
        :, :, 0
    ]
    (evidence,) = read_pixel_marks(make_image(make_pixels(8, 20), alpha))
    assert (evidence.value, evidence.tier) == ("stealth_pngcomp", Tier.WEAK)


def test_a_bomb_in_alpha_stays_small() -> None:
    payload = gzip.compress(bytes(30_000_000), 1)
    body = b"stealth_pngcomp" + (8 * len(payload)).to_bytes(4, "big") + payload
    alpha = hide(np.full((1000, 1700, 1), 255, np.uint8), body)[:, :, 0]
    (evidence,) = read_pixel_marks(make_image(make_pixels(1000, 1700), alpha))
    assert len(evidence.value) <= 200


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 7)])
def test_plain_pixels_say_nothing(size: tuple[int, int]) -> None:
    alpha = np.full(size, 255, np.uint8)
    assert read_pixel_marks(make_image(make_pixels(*size), alpha), watermarks=True) == ()


@pytest.fixture
def sign(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Signs as NovelAI does, with a key of our own in place of NovelAI's."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    key = ed25519.Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    monkeypatch.setattr(novelai, "_PUBLIC_KEY", public)

    def make(pixels: Pixels, comment: dict[str, object]) -> dict[str, object]:
        message = pixels.tobytes() + json.dumps(comment).encode()
        return {**comment, "signed_hash": base64.b64encode(key.sign(message)).decode()}

    return make


COMMENT: dict[str, object] = {
    "prompt": "ein Schloß",
    "sampler": "k_euler",
    "scale": 5.0,
    "x": [1, None],
}


def signed_files(comment: dict[str, object]) -> list[tuple[bytes, str]]:
    direct = json.dumps(comment)
    wrapped = json.dumps({"Comment": direct, "Software": "NovelAI"})
    return [
        (png(text("Comment", direct)), "image/png"),
        (
            webp((b"EXIF", tiff([], [user_comment(b"ASCII\0\0\0" + wrapped.encode())]))),
            "image/webp",
        ),
    ]


@pytest.mark.parametrize("kind", [0, 1])
def test_a_signature_that_holds_is_proof(sign, kind: int) -> None:  # type: ignore[no-untyped-def]
    pixels = make_pixels()
    data, media_type = signed_files(sign(pixels, COMMENT))[kind]
    provenance = read_provenance(data, media_type)
    (evidence,) = read_pixel_marks(make_image(pixels, None, data, media_type))
    assert (evidence.says, evidence.tier) == (Says.AI, Tier.PROOF)
    assert evidence.rule == "novelai-signature"
    merged = with_evidence(provenance, (evidence,))
    assert merged.evidence[0] is evidence
    assert merged.generator == "NovelAI"
    assert describe(merged).startswith("Signed by NovelAI: made by AI")


def test_a_signature_hidden_in_alpha_is_proof(sign) -> None:  # type: ignore[no-untyped-def]
    pixels = make_pixels(200, 80)
    body = stealth(b"stealth_pngcomp", json.dumps({"Comment": json.dumps(sign(pixels, COMMENT))}))
    alpha = hide(np.full((200, 80, 1), 255, np.uint8), body)[:, :, 0]
    evidence = read_pixel_marks(make_image(pixels, alpha))
    assert {one.tier for one in evidence} == {Tier.STRONG, Tier.PROOF}


def test_a_signature_over_colours_that_nobody_sees_proves_nothing(sign) -> None:  # type: ignore[no-untyped-def]
    pixels = make_pixels(64, 80)
    signed = sign(pixels, {**COMMENT, "width": 80, "height": 64})
    data = png(text("Comment", json.dumps(signed)))
    opaque = np.full((64, 80), 255, np.uint8)
    opaque[0, 0] = 254
    see_through = opaque.copy()
    see_through[9, 9] = 253
    whole = make_image(pixels, opaque, data)
    for image, tier in (
        (whole, Tier.PROOF),
        (make_image(pixels, see_through, data), Tier.WEAK),
        (make_image(pixels.reshape(80, 64, 3), None, data), Tier.WEAK),
        (replace(whole, has_more_frames=True), Tier.WEAK),
    ):
        (evidence,) = read_pixel_marks(image)
        assert (evidence.rule, evidence.says, evidence.tier) == (
            "novelai-signature",
            Says.AI,
            tier,
        )


@pytest.mark.parametrize(
    ("kind", "says", "deed"),
    [
        ("PromptGenerateRequest", Says.AI, "made by AI"),
        ("NativeInfillingRequest", Says.AI_EDIT, "edited with AI"),
        ("Img2ImgRequest", Says.AI_EDIT, "edited with AI"),
    ],
)
def test_a_signed_request_tells_what_was_made(sign, kind: str, says: Says, deed: str) -> None:  # type: ignore[no-untyped-def]
    pixels = make_pixels()
    data = png(text("Comment", json.dumps(sign(pixels, {**COMMENT, "request_type": kind}))))
    (evidence,) = read_pixel_marks(make_image(pixels, None, data))
    assert (evidence.says, evidence.tier) == (says, Tier.PROOF)
    assert describe(with_evidence(Provenance(), (evidence,))).startswith(
        f"Signed by NovelAI: {deed}"
    )


def test_one_changed_bit_or_word_breaks_the_signature(sign) -> None:  # type: ignore[no-untyped-def]
    pixels = make_pixels()
    comment = sign(pixels, COMMENT)
    changed = pixels.copy()
    changed[3, 4, 1] ^= 1
    data = png(text("Comment", json.dumps(comment)))
    assert read_pixel_marks(make_image(changed, None, data)) == ()
    other = png(text("Comment", json.dumps({**comment, "prompt": "other"})))
    assert read_pixel_marks(make_image(pixels, None, other)) == ()


@pytest.mark.parametrize("signature", ["", "AA==", "no base64!", "ü", 7, None, [[]]])
def test_odd_signatures_prove_nothing(signature: object) -> None:
    pytest.importorskip("cryptography")
    data = png(text("Comment", json.dumps({"signed_hash": signature})))
    assert read_pixel_marks(make_image(make_pixels(), None, data)) == ()


SDXL = format(0b101100111110110010010000011110111011000110011110, "048b")
FLUX = format(0b001010101111111010000111100111001111010100101110, "048b")
SD1 = "".join(format(byte, "08b") for byte in b"StableDiffusionV1")


def embed(pixels: Pixels, message: str, centre: float) -> Pixels:
    """The published embedder, with U centred on `centre`; brightness and V stay as they are."""
    image = pixels.astype(np.float64)
    height, width = image.shape[0] // 8 * 8, image.shape[1] // 8 * 8
    luma = image @ [0.299, 0.587, 0.114]
    chroma = 0.492 * (image[:, :, 2] - luma) + centre
    index = 0
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            block = chroma[top : top + 8, left : left + 8]
            band = (block[::2, ::2] + block[1::2, ::2] + block[::2, 1::2] + block[1::2, 1::2]) / 2
            place = 1 + int(np.abs(band.ravel()[1:]).argmax())
            value = band.ravel()[place]
            bit = int(message[index % len(message)])
            wanted = np.sign(value or 1.0) * (abs(value) // 36 + 0.25 + 0.5 * bit) * 36
            row, column = 2 * (place // 4), 2 * (place % 4)
            block[row : row + 2, column : column + 2] += (wanted - value) / 2
            index += 1
    change = chroma - (0.492 * (image[:, :, 2] - luma) + centre)
    image[:, :, 2] += change / 0.492
    blue = image[:, :, 2]
    # (B - Y) must grow by change / 0.492 while Y stays: green pays for blue.
    image[:, :, 1] = (luma - 0.299 * image[:, :, 0] - 0.114 * blue) / 0.587
    marked: Pixels = np.clip(np.round(image), 0, 255).astype(np.uint8)
    return marked


@pytest.mark.parametrize("centre", [0.5, 128.0], ids=["float", "bytes"])
@pytest.mark.parametrize(
    ("message", "rule"),
    [(SDXL, "watermark-sdxl"), (FLUX, "watermark-flux"), (SD1, "watermark-sd1")],
)
def test_open_watermarks_are_read(message: str, rule: str, centre: float) -> None:
    marked = embed(photo_like(384, 384), message, centre)
    (evidence,) = read_pixel_marks(make_image(marked), watermarks=True)
    assert evidence.rule == rule
    assert (evidence.says, evidence.tier) == (Says.AI, Tier.STRONG)
    assert read_pixel_marks(make_image(marked)) == ()


def test_a_watermark_embedded_into_floats_is_read_where_blue_is_scarce() -> None:
    # There U is negative, and a reader that centres it on 128 sees other coefficients.
    yellow = np.clip(photo_like(384, 384) + np.array([40, 40, -90]), 0, 255).astype(np.uint8)
    marked = embed(yellow, SDXL, 0.5)
    (evidence,) = read_pixel_marks(make_image(marked), watermarks=True)
    assert evidence.rule == "watermark-sdxl"


def test_other_messages_and_plain_pictures_carry_no_watermark() -> None:
    for seed in range(3):
        bits = "".join(map(str, np.random.default_rng(seed).integers(0, 2, 48)))
        marked = embed(photo_like(256, 320), bits, 128.0)
        assert read_pixel_marks(make_image(marked), watermarks=True) == ()
    assert read_pixel_marks(make_image(photo_like(512, 512)), watermarks=True) == ()
    assert read_pixel_marks(make_image(np.zeros((512, 512, 3), np.uint8)), watermarks=True) == ()


def test_merging_nothing_changes_nothing() -> None:
    assert with_evidence(Provenance(), ()) == Provenance()


def make_photo(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """Large soft patches, as no other seed has them."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def with_thumbnail(photo: Image.Image, thumbnail: Image.Image) -> DecodedImage:
    stream = io.BytesIO()
    thumbnail.save(stream, "JPEG")
    small = stream.getvalue()
    number = [value.to_bytes(4, "little") for value in (8 + 6 + 2 + 24 + 4, len(small))]
    block = b"II*\0\x08\0\0\0" + b"\0\0" + (14).to_bytes(4, "little") + b"\x02\0"
    for tag, value in zip((0x0201, 0x0202), number, strict=True):
        block += tag.to_bytes(2, "little") + b"\x04\0\x01\0\0\0" + value
    data = jpeg(app1(block + bytes(4) + small))
    return make_image(np.asarray(photo), None, data, "image/jpeg")


def test_a_thumbnail_of_another_picture_tells_of_an_edit() -> None:
    (evidence,) = read_pixel_marks(with_thumbnail(make_photo(1), make_photo(2, 160, 120)))
    assert (evidence.rule, evidence.says, evidence.tier) == (
        "thumbnail-differs",
        Says.EDITED,
        Tier.WEAK,
    )


def test_a_thumbnail_of_the_picture_says_nothing() -> None:
    photo = make_photo(1)
    boxed = Image.new("RGB", (160, 120))
    boxed.paste(make_photo(3, 160, 107), (0, 6))
    for whole, thumbnail in (
        (photo, photo.resize((160, 120))),
        (make_photo(3, 300, 200), boxed),  # bars above and below a 3:2 picture
        (photo.rotate(90, expand=True), photo.resize((160, 120))),  # turned, thumbnail forgotten
        (Image.new("RGB", (320, 240), "white"), photo.resize((160, 120))),  # flat: no telling
    ):
        assert read_pixel_marks(with_thumbnail(whole, thumbnail)) == ()


@pytest.mark.parametrize("place", [(0, 0), (10, 5), (10**9, 100), (20, 2**32 - 1)])
def test_broken_thumbnails_are_survived(place: tuple[int, int]) -> None:
    image = with_thumbnail(make_photo(1), make_photo(2, 160, 120))
    start, length = (value.to_bytes(4, "little") for value in place)
    data = bytearray(image.data)
    for tag, value in ((b"\x01\x02\x04\0", start), (b"\x02\x02\x04\0", length)):
        position = data.index(tag) + 8
        data[position : position + 4] = value
    assert read_pixel_marks(make_image(image.pixels, None, bytes(data), "image/jpeg")) == ()


@pytest.mark.parametrize("isolate", [False, True])
def test_a_scan_looks_for_watermarks_when_asked(tmp_path: Path, isolate: bool) -> None:
    path = tmp_path / "marked.png"
    Image.fromarray(embed(photo_like(384, 384), SDXL, 128.0)).save(path)
    options = ScanOptions(isolate=isolate)
    with Store(tmp_path / "store.sqlite3") as store:
        (plain,) = scan([path], options, store=store)
        (asked,) = scan([path], replace(options, watermarks=True), store=store)
    assert plain.measurement.provenance.evidence == ()
    assert (asked.verdict, asked.reason) == (Verdict.AI, Reason.DECLARED_AI)
    assert asked.decided_by == "watermark"
