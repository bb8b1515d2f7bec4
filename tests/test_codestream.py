from __future__ import annotations

import io
import struct

import pytest
from conftest import SUFFIXES, encode, noisy, plain, png_chunk, png_with_chunks
from PIL import Image

from fakescan.codestream import (
    ends_early,
    find_orientation,
    has_more_frames,
    keep_codestream,
    parse_orientation,
)


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block that holds the orientation and nothing else."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def jpeg_with(*segments: bytes) -> bytes:
    whole = noisy(suffix=".jpg")
    return b"".join((whole[:2], *segments, whole[2:]))


def thumbnail() -> bytes:
    return segment(0xE1, b"Exif\0\0" + exif(1) + plain(suffix=".jpg", size=(8, 8)))


# What a decoder is shown


def test_png_keeps_only_chunks_that_decide_pixels() -> None:
    extra = [png_chunk(name, b"x" * 50) for name in (b"tEXt", b"iCCP", b"eXIf", b"caBX", b"fdAT")]
    assert keep_codestream("image/png", png_with_chunks(*extra)) == plain()
    palette = encode(Image.new("P", (4, 4)), ".png", transparency=0)
    assert keep_codestream("image/png", palette) == palette


def test_png_loses_what_follows_its_end() -> None:
    assert keep_codestream("image/png", plain() + b"trailer") == plain()


def test_jpeg_keeps_how_colours_are_coded_and_loses_the_rest() -> None:
    whole = noisy(suffix=".jpg")
    added = jpeg_with(
        thumbnail(), segment(0xE2, b"ICC_PROFILE\0" + bytes(99)), segment(0xFE, b"comment")
    )
    assert len(added) > len(whole)
    assert keep_codestream("image/jpeg", added) == whole
    adobe = encode(Image.new("CMYK", (8, 8)), ".jpg")
    assert b"Adobe" in keep_codestream("image/jpeg", adobe)


def test_other_formats_are_shown_whole() -> None:
    data = plain(suffix=".webp")
    assert keep_codestream("image/webp", data) is data


# Truncation


@pytest.mark.parametrize(
    ("suffix", "media_type"), [item for item in SUFFIXES.items() if item[0] != ".tiff"]
)
def test_a_file_cut_short_ends_early_and_a_whole_one_does_not(suffix: str, media_type: str) -> None:
    data = noisy(suffix=suffix)
    assert not ends_early(media_type, data)
    assert ends_early(media_type, data[: len(data) * 2 // 3])


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    data = jpeg_with(thumbnail())
    assert not ends_early("image/jpeg", data)
    assert ends_early("image/jpeg", data[:-100])


# Orientation


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_of_jpeg_and_png(value: int, order: str) -> None:
    block = exif(value, order)
    assert parse_orientation(block) == parse_orientation(b"Exif\0\0" + block) == value
    assert find_orientation("image/png", png_with_chunks(png_chunk(b"eXIf", block))) == value
    jpeg = jpeg_with(segment(0xE0, b"JFIF\0" + bytes(9)), segment(0xE1, b"Exif\0\0" + block))
    assert find_orientation("image/jpeg", jpeg) == value


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"XX*\0" + bytes(40),
        exif(0),
        exif(9),
        exif(6)[:12],
        b"II*\0" + b"\xff" * 4,
        b"II*\0" + struct.pack("<IH", 8, 65535),
    ],
)
def test_a_damaged_orientation_is_none(block: bytes) -> None:
    assert parse_orientation(block) == 1


def test_pictures_without_exif_stand_upright() -> None:
    assert find_orientation("image/jpeg", noisy(suffix=".jpg")) == 1
    assert find_orientation("image/png", plain()) == 1
    assert find_orientation("image/gif", plain(suffix=".gif")) == 1


# Further pictures


def test_animated_png_and_jpeg_of_several_pictures() -> None:
    frames = [Image.new("RGB", (8, 8), level) for level in ("red", "blue")]
    animated = encode(frames[0], ".png", save_all=True, append_images=frames[1:])
    assert has_more_frames("image/png", animated)
    assert not has_more_frames("image/png", plain())
    stream = io.BytesIO()
    frames[0].save(stream, "MPO", save_all=True, append_images=frames[1:])
    assert has_more_frames("image/jpeg", stream.getvalue())
    assert not has_more_frames("image/jpeg", noisy(suffix=".jpg"))
