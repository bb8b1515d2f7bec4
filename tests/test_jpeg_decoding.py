"""JPEGs are decoded by simplejpeg where it can; the answer must be what Pillow alone gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from conftest import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakescan import images
from fakescan.images import decode_image
from fakescan.records import DecodedImage, Source, Status, Unreadable

ROTATED = Image.Exif()
ROTATED[0x0112] = 6


def picture(mode: str, width: int, height: int) -> Image.Image:
    """Noise on a gradient: it shows how colours are sampled, and how edges are filled."""
    random = np.random.default_rng(width * 1000 + height)
    bands = len(Image.new(mode, (1, 1)).getbands())
    ramp = np.linspace(20, 200, width)[None, :, None]
    levels = ramp + random.uniform(0, 55, (height, width, bands))
    return Image.merge(
        mode, [Image.fromarray(levels[:, :, band].astype(np.uint8)) for band in range(bands)]
    )


def decode_both_ways(data: bytes) -> tuple[DecodedImage | Unreadable, DecodedImage | Unreadable]:
    source = Source("picture.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_decode_jpeg", lambda data, height, width: None)
        by_pillow = decode_image(source, data)
    return decode_image(source, data), by_pillow


def assert_same(data: bytes) -> None:
    found, wanted = decode_both_ways(data)
    if isinstance(wanted, Unreadable):
        assert isinstance(found, Unreadable)
        assert found.status is wanted.status
        assert (found.width, found.height) == (wanted.width, wanted.height)
    else:
        assert isinstance(found, DecodedImage)
        assert np.array_equal(found.pixels, wanted.pixels)
        assert found.orientation == wanted.orientation


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("L", {}),
    ("L", {"progressive": True}),
    ("RGB", {"subsampling": "4:4:4"}),
    ("RGB", {"subsampling": "4:2:2"}),
    ("RGB", {"subsampling": "4:2:0"}),
    ("RGB", {"subsampling": "4:2:0", "progressive": True}),
    ("RGB", {"subsampling": "4:4:4", "progressive": True, "quality": 30}),
    ("RGB", {"keep_rgb": True}),
    ("RGB", {"restart_marker_blocks": 1}),
    ("RGB", {"exif": ROTATED}),
    ("CMYK", {}),
]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 33), (100, 3), (160, 128)])
@pytest.mark.parametrize(("mode", "options"), KINDS)
def test_pixels_are_pillows(mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    data = encode(picture(mode, *size), ".jpg", **options)
    assert_same(data)
    found, _ = decode_both_ways(data)
    assert isinstance(found, DecodedImage)
    assert found.orientation == (6 if "exif" in options else 1)
    assert (found.width, found.height) == size
    assert found.alpha is None


def test_the_quick_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> None:
        raise AssertionError("Pillow decoded it")

    monkeypatch.setattr(images, "_pixels", fail)
    for mode in ("L", "RGB"):
        data = encode(picture(mode, 33, 17), ".jpg")
        assert isinstance(decode_image(Source("a.jpg"), data), DecodedImage)


SEEDS = [encode(picture(mode, 33, 26), ".jpg", **options) for mode, options in KINDS]


@settings(max_examples=300, deadline=None)
@given(
    whole=st.sampled_from(SEEDS),
    length=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_damaged_files_get_pillows_answer(
    whole: bytes, length: float, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(whole[: 2 + round(length * (len(whole) - 2))])
    for place, value in changes:
        data[int(place * len(data))] = value
    assert_same(bytes(data))


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_a_cut_anywhere_in_the_scan_is_truncated(seed: int) -> None:
    whole = SEEDS[seed]
    for missing in (1, 2, 3, 40):
        assert_same(whole[:-missing])
    found, _ = decode_both_ways(whole[: len(whole) * 3 // 4])
    assert isinstance(found, Unreadable)
    assert found.status is Status.TRUNCATED


def test_the_limit_on_pixels_holds_before_anything_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "_jpeg_pixels", lambda image, data: pytest.fail("decoded"))
    found = decode_image(Source("a.jpg"), SEEDS[0], max_pixels=33 * 26 - 1)
    assert isinstance(found, Unreadable)
    assert found.status is Status.TOO_LARGE


def test_a_header_that_names_another_size_to_the_decoder_writes_nothing_beyond() -> None:
    # What Pillow weighed was small; what simplejpeg is given is large.
    large = encode(picture("RGB", 160, 128), ".jpg")
    with Image.open(io.BytesIO(SEEDS[2])) as small:
        assert images._decode_jpeg(large, small.height, small.width) is None
