from __future__ import annotations

import io
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import (
    SUFFIXES,
    encode,
    noisy,
    plain,
    png_bomb,
    png_chunk,
    png_with_chunks,
)
from PIL import Image, WebPImagePlugin

from fakescan.images import (
    compute_sha256,
    crop_positions,
    cut_crops,
    decode_image,
    read_bytes,
)
from fakescan.records import DecodedImage, Source, Status, Unreadable


def decode(data: bytes, path: str = "picture.png", **options: Any) -> DecodedImage:
    image = decode_image(Source(path), data, **options)
    assert isinstance(image, DecodedImage), image.status
    return image


def status_of(data: bytes, path: str = "picture.png", **options: Any) -> Status:
    image = decode_image(Source(path), data, **options)
    assert isinstance(image, Unreadable)
    return image.status


# The rule for pixels


@pytest.mark.parametrize(("suffix", "media_type"), SUFFIXES.items())
def test_every_format_gives_rgb_in_stored_order(suffix: str, media_type: str) -> None:
    picture = Image.new("RGB", (48, 32), (200, 100, 50))
    picture.paste((10, 20, 230), (0, 0, 24, 32))
    image = decode(encode(picture, suffix))
    assert image.media_type == media_type
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape == (32, 48, 3)
    assert (image.width, image.height) == (48, 32)
    # GIF's palette and the lossy codecs may miss by a few levels.
    assert np.abs(image.pixels[16, 8].astype(int) - (10, 20, 230)).max() <= 12
    assert np.abs(image.pixels[16, 40].astype(int) - (200, 100, 50)).max() <= 12
    assert image.alpha is None
    assert image.orientation == 1
    assert not image.has_more_frames


def sixteen_bit_rgb() -> bytes:
    """One pixel of 0xABCD, 0x1234, 0xFF00, which Pillow can't write."""
    sample = bytes.fromhex("abcd1234ff00")
    header = b"\0\0\0\1\0\0\0\1\x10\2\0\0\0"
    chunks = (
        png_chunk(b"IHDR", header),
        png_chunk(b"IDAT", zlib.compress(b"\0" + sample)),
        png_chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def palette(transparency: Any = None) -> Image.Image:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


CMYK = Image.new("CMYK", (16, 16), (10, 20, 30, 40))
CMYK_AS_RGB = (207, 198, 190)  # 255 (1 - C) (1 - K), rounded
GREY_16 = Image.fromarray(np.full((1, 1), 0xABCD, np.uint16))


@pytest.mark.parametrize(
    ("data", "pixel", "alpha", "bit_depth"),
    [
        pytest.param(encode(GREY_16, ".png"), (0xAB,) * 3, None, 16, id="16-bit-grey-png"),
        pytest.param(encode(GREY_16, ".tiff"), (0xAB,) * 3, None, 16, id="16-bit-grey-tiff"),
        pytest.param(sixteen_bit_rgb(), (0xAB, 0x12, 0xFF), None, 16, id="16-bit-rgb-png"),
        pytest.param(encode(CMYK, ".jpg", quality=100), CMYK_AS_RGB, None, 8, id="cmyk-jpeg"),
        pytest.param(encode(CMYK, ".tiff"), CMYK_AS_RGB, None, 8, id="cmyk-tiff"),
        pytest.param(encode(palette(), ".png"), (255, 0, 0), None, 1, id="palette"),
        pytest.param(
            encode(palette(bytes((7, 255))), ".png"), (255, 0, 0), 7, 1, id="palette-alpha"
        ),
        pytest.param(
            encode(palette(0), ".gif"), (255, 0, 0), 0, 8, id="gif-transparent-keeps-its-colour"
        ),
        pytest.param(
            encode(Image.new("RGBA", (2, 2), (9, 77, 3, 0)), ".png"), (9, 77, 3), 0, 8, id="rgba"
        ),
        pytest.param(
            encode(Image.new("RGBA", (2, 2), (9, 77, 3, 4)), ".webp", lossless=True, exact=True),
            (9, 77, 3),
            4,
            8,
            id="rgba-webp",
        ),
        pytest.param(
            encode(Image.new("LA", (2, 2), (9, 77)), ".png"), (9, 9, 9), 77, 8, id="grey-alpha"
        ),
        pytest.param(encode(Image.new("L", (2, 2), 9), ".png"), (9, 9, 9), None, 8, id="grey"),
        pytest.param(encode(Image.new("1", (2, 2), 1), ".png"), (255,) * 3, None, 1, id="one-bit"),
        pytest.param(
            encode(Image.new("RGB", (2, 2), (1, 2, 3)), ".png", transparency=(1, 2, 3)),
            (1, 2, 3),
            0,
            8,
            id="transparent-colour",
        ),
    ],
)
def test_known_values(
    data: bytes, pixel: tuple[int, int, int], alpha: int | None, bit_depth: int
) -> None:
    image = decode(data)
    assert tuple(image.pixels[0, 0]) == pixel
    assert (image.alpha is None) == (alpha is None)
    if alpha is not None:
        assert image.alpha is not None
        assert image.alpha.shape == image.pixels.shape[:2]
        assert image.alpha[0, 0] == alpha
    assert image.bit_depth == bit_depth


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_without_a_rule_are_unsupported(mode: str) -> None:
    data = encode(Image.new(mode, (4, 4)), ".tiff")
    assert status_of(data) is Status.UNSUPPORTED_FORMAT


def test_colour_profiles_change_nothing() -> None:
    profile = png_chunk(b"iCCP", b"p\0\0" + b"no profile at all")
    gamma = png_chunk(b"gAMA", (45455).to_bytes(4, "big"))
    assert np.array_equal(
        decode(png_with_chunks(profile, gamma)).pixels, decode(png_with_chunks()).pixels
    )


@pytest.mark.parametrize("value", [3, 6])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        *((suffix, {}) for suffix in (".jpg", ".png", ".webp", ".tiff", ".avif")),
        pytest.param(".tiff", {"compression": "tiff_lzw"}, id="compressed-tiff"),
    ],
)
def test_orientation_is_told_and_not_applied(
    suffix: str, options: dict[str, str], value: int
) -> None:
    picture = Image.new("RGB", (32, 16))
    picture.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = value
    image = decode(encode(picture, suffix, exif=exif, **options))
    assert image.orientation == value
    assert (image.width, image.height) == (32, 16)
    assert image.pixels[2, 2, 0] > 240
    assert image.pixels[-2, 2, 0] < 15 > image.pixels[2, -2, 0]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tiff", ".avif"])
def test_the_first_of_several_frames(suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    data = encode(frames[0], suffix, save_all=True, append_images=frames[1:])
    image = decode(data)
    assert image.has_more_frames
    red, green, blue = (int(value) for value in image.pixels[0, 0])
    assert red > 240 and green < 16 and blue < 16


def test_the_primary_picture_of_several_in_a_jpeg() -> None:
    stream = io.BytesIO()
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(stream, "MPO", save_all=True, append_images=[second])
    image = decode(stream.getvalue())
    assert image.has_more_frames
    assert image.media_type == "image/jpeg"
    assert image.pixels[0, 0, 0] > 240


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tiff"])
def test_extreme_shapes(size: tuple[int, int], suffix: str) -> None:
    image = decode(plain(size=size, suffix=suffix))
    assert (image.width, image.height) == size


# What gives no pixels


def test_no_bytes() -> None:
    assert status_of(b"") is Status.EMPTY


@pytest.mark.parametrize("data", [b"x", b"hello world" * 10, b"\x89PNG", b"\xff\xd8", b"%PDF-1.7"])
def test_junk_is_not_an_image(data: bytes) -> None:
    assert status_of(data) is Status.NOT_AN_IMAGE


def test_zeros_with_an_images_name_are_a_lost_picture() -> None:
    assert status_of(bytes(4096), "a.jpg") is Status.CORRUPT
    assert status_of(bytes(4096), "a.bin") is Status.NOT_AN_IMAGE


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".tiff"])
def test_a_file_cut_short_is_truncated(suffix: str) -> None:
    data = noisy(size=(64, 64), suffix=suffix)
    assert status_of(data[: len(data) // 2]) is Status.TRUNCATED


def test_a_damaged_file_is_corrupt() -> None:
    data = noisy(size=(64, 64))
    at = data.index(b"IDAT") + 4
    assert status_of(data[:at] + bytes(40) + data[at + 40 :]) is Status.CORRUPT


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [
        (".dng", "image/x-adobe-dng"),
        (".NEF", "image/x-nikon-nef"),
        (".arw", "image/x-sony-arw"),
        (".cr2", "image/x-canon-cr2"),
    ],
)
def test_the_thumbnail_in_a_raw_file_is_not_its_picture(suffix: str, media_type: str) -> None:
    unreadable = decode_image(Source("a" + suffix), plain(size=(8, 8), suffix=".tiff"))
    assert isinstance(unreadable, Unreadable)
    assert unreadable.status is Status.UNSUPPORTED_FORMAT
    assert unreadable.media_type == media_type
    assert unreadable.data is not None


def test_a_dng_is_known_without_its_name() -> None:
    tags = {0xC612: b"\1\4\0\0"}
    data = encode(Image.new("RGB", (8, 8)), ".tiff", tiffinfo=tags)
    unreadable = decode_image(Source("renamed.tif"), data)
    assert isinstance(unreadable, Unreadable)
    assert (unreadable.status, unreadable.media_type) == (
        Status.UNSUPPORTED_FORMAT,
        "image/x-adobe-dng",
    )


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = png_bomb()
    assert len(bomb) < 500_000
    asked: list[int] = []
    began = time.monotonic()
    unreadable = decode_image(Source("bomb.png"), bomb, reserve=asked.append)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.status is Status.TOO_LARGE
    assert (unreadable.width, unreadable.height) == (30_000, 30_000)
    assert asked == []
    # It takes milliseconds; decoding would take seconds.
    assert time.monotonic() - began < 1


def test_the_limit_on_pixels_is_the_callers() -> None:
    assert status_of(plain(size=(32, 32)), max_pixels=1023) is Status.TOO_LARGE
    assert decode(plain(size=(32, 32)), max_pixels=1024).width == 32


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pillows_own_limit_is_another(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It is global to the process, and twice as much is an error.
    data = plain(suffix=suffix)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(data).width == 32


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}], ids=["VP8", "VP8L", "VP8X"]
)
def test_a_large_webp_is_refused_before_its_decoder_is_made(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plain(suffix=".webp", **options)
    monkeypatch.setattr(WebPImagePlugin, "WebPImageFile", lambda stream: pytest.fail("made"))
    refused = decode_image(Source("a.webp"), data, max_pixels=1023)
    assert isinstance(refused, Unreadable)
    assert (refused.status, refused.width, refused.height) == (Status.TOO_LARGE, 32, 32)


def test_too_little_memory_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("fakescan.images._pixels", fail)
    assert status_of(plain()) is Status.OUT_OF_MEMORY


def test_many_text_chunks_cost_nothing() -> None:
    chunks = [png_chunk(b"tEXt", b"k\0%d" % number) for number in range(200_000)]
    data = png_with_chunks(*chunks)
    began = time.monotonic()
    assert decode(data).width == 32
    # A tenfold margin: it takes 0.2 s.
    assert time.monotonic() - began < 2


def test_what_is_known_of_an_unreadable_file_is_kept() -> None:
    data = noisy(size=(64, 48))[:500]
    unreadable = decode_image(Source("a.png"), data)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.data == data
    assert unreadable.sha256 == compute_sha256(data)
    assert (unreadable.media_type, unreadable.width, unreadable.height) == ("image/png", 64, 48)


def test_memory_is_asked_for_before_pixels_are_made() -> None:
    asked: list[int] = []
    decode(plain(size=(40, 30)), reserve=asked.append)
    assert asked == [40 * 30 * 4]


# Reading


def read(path: Path, **options: Any) -> bytes | Status:
    facts = {"size_bytes": path.stat().st_size} if path.exists() else {}
    data = read_bytes(Source(str(path), **facts), **options)
    return data if isinstance(data, bytes) else data.status


def test_bytes_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    asked: list[int] = []
    assert read(tmp_path / "a.png", reserve=asked.append) == b"12345"
    assert asked == [5]


def test_a_file_that_has_gone_since_it_was_found(tmp_path: Path) -> None:
    assert read(tmp_path / "gone.png") is Status.NOT_FOUND


@pytest.mark.timeout(10)
def test_a_file_that_became_a_pipe_since_it_was_found(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert read(tmp_path / "a.png") is Status.NOT_A_REGULAR_FILE


@pytest.mark.parametrize(
    ("error", "status"),
    [(PermissionError(), Status.PERMISSION_DENIED), (OSError(5, "EIO"), Status.READ_ERROR)],
)
def test_errors_of_reading_are_statuses(
    monkeypatch: pytest.MonkeyPatch, error: OSError, status: Status
) -> None:
    def fail(source: Source) -> None:
        raise error

    monkeypatch.setattr(Source, "open", fail)
    data = read_bytes(Source("a.png"))
    assert isinstance(data, Unreadable)
    assert data.status is status


def test_a_known_problem_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "open", lambda source: pytest.fail("opened"))
    data = read_bytes(Source("a.png", problem=Status.NOT_A_REGULAR_FILE))
    assert isinstance(data, Unreadable)
    assert data.status is Status.NOT_A_REGULAR_FILE


def test_a_file_longer_than_any_picture_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.png", "wb") as file:
        file.truncate(300 << 20)  # a hole, which takes no disk
    assert read(tmp_path / "a.png", max_pixels=1000) is Status.TOO_LARGE
    # What grew after it was found is not read to its end either.
    data = read_bytes(Source(str(tmp_path / "a.png"), 10), max_pixels=1000)
    assert isinstance(data, Unreadable)
    assert data.status is Status.TOO_LARGE


# The crop rule


@pytest.mark.parametrize(
    ("width", "height", "count", "expected"),
    [
        (32, 32, 8, [(0, 0)]),
        (33, 32, 1, [(0, 0)]),
        (64, 64, 4, [(0, 0), (32, 0), (0, 32), (32, 32)]),
        # Three regions, in each the first of equal windows.
        (128, 32, 3, [(0, 0), (32, 0), (80, 0)]),
        (32, 128, 3, [(0, 0), (0, 32), (0, 80)]),
        # Too narrow for two regions of a window each.
        (56, 32, 3, [(0, 0), (16, 0)]),
        # Two windows there would be the same but for a few pixels.
        (47, 32, 3, [(0, 0)]),
    ],
)
def test_windows_of_flat_pictures(
    width: int, height: int, count: int, expected: list[tuple[int, int]]
) -> None:
    pixels = np.full((height, width, 3), 128, np.uint8)
    assert list(crop_positions(pixels, 32, count)) == expected


def test_each_region_gives_its_most_textured_window() -> None:
    random = np.random.default_rng(0)
    # Two regions of 256 px. Left: flat, but for one place. Right: texture, but for the sky.
    pixels = np.full((256, 512, 3), 128, np.uint8)
    pixels[:, 256:] = random.integers(100, 130, (256, 256, 3))
    pixels[:128, 256:] = 200
    pixels[96:192, 112:208] = random.integers(100, 130, (96, 96, 3))
    left, right = crop_positions(pixels, 64, 2)
    assert 112 <= left[0] <= 144
    assert 96 <= left[1] <= 128
    assert right[0] >= 256
    assert right[1] >= 128


@pytest.mark.parametrize(
    "spoil",
    [
        lambda texture: np.full_like(texture, 90),
        lambda texture: np.where(texture > 115, 255, 254),  # blown out
        lambda texture: texture // 64,  # crushed blacks
        lambda texture: np.where(texture > 115, 240, 20),  # type and outlines
        lambda texture: 90 + texture // 128,  # no more than rounding
    ],
    ids=["flat", "bright", "dark", "sharp", "rounding"],
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_no_texture(
    spoil: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], turned: bool
) -> None:
    texture = np.random.default_rng(0).integers(100, 130, (192, 64, 3))
    pixels = np.concatenate([spoil(texture), texture, spoil(texture)], axis=1).astype(np.uint8)
    if turned:
        ((_, place),) = crop_positions(pixels.swapaxes(0, 1), 64, 1)
    else:
        ((place, _),) = crop_positions(pixels, 64, 1)
    assert 32 < place < 96


@pytest.mark.parametrize(("width", "height"), [(31, 400), (400, 31), (1, 20_000)])
def test_no_window_fits(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="no window"):
        crop_positions(np.zeros((height, width, 3), np.uint8), 32, 8)


def test_crops_are_copies_of_the_pixels_at_their_places() -> None:
    pixels = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    crops = cut_crops(pixels, 4, ((0, 0), (5, 4)))
    assert crops.shape == (2, 4, 4, 3)
    assert np.array_equal(crops[1], pixels[4:8, 5:9])
    crops[:] = 0
    assert pixels.any()
