from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from fakescan.gates import PHOTO_GATES, SMALLEST_SIDE, check_gates, measure_gates
from fakescan.records import Reason

SIDE = 512


def photograph(seed: int = 0, side: int = SIDE) -> Image.Image:
    """Like one: shapes of all sizes under uneven light, through a lens, with a sensor's noise."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), (120, 130, 140))
    draw = ImageDraw.Draw(image)
    for radius in np.geomspace(side / 3, 2, 300):
        x, y = random.uniform(0, side, 2)
        colour = tuple(int(level) for level in random.integers(30, 220, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(0.8))
    light = np.linspace(0.6, 1.1, side)[:, None, None] * np.linspace(0.8, 1, side)[None, :, None]
    return picture(np.asarray(image) * light + random.normal(0, 3, (side, side, 3)))


def picture(levels: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    return Image.fromarray(np.clip(levels.round(), 0, 255).astype(np.uint8))


def compress(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def enlarge(image: Image.Image, times: int) -> Image.Image:
    return image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC)


def typeset_page() -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for line in range(22):
        draw.text(
            (40, 40 + 20 * line), "The quick brown fox jumps over the lazy dog. " * 2, "black"
        )
    draw.rectangle((SIDE - 40, 0, SIDE, SIDE), "white")
    return image


def scanned_page(noise: float = 3) -> Image.Image:
    random = np.random.default_rng(1)
    page = np.asarray(typeset_page().filter(ImageFilter.GaussianBlur(0.6))) * 0.85
    return picture(page + random.normal(0, noise, page.shape))


def plot() -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    draw.line((40, 20, 40, 480, 500, 480), "black", 2)
    for place in range(60, 480, 40):
        draw.line((40, place, 500, place), (200, 200, 200))
        draw.text((8, place), str(place), "black")
    for colour, scale in (("red", 150), ("blue", 90), ("green", 40)):
        curve = [(x, 250 + scale * float(np.sin(x / 40))) for x in range(40, 500)]
        draw.line(curve, colour, 3)
    for place in range(50, 490, 40):
        draw.rectangle((place, 400 - place // 3, place + 20, 480), fill=(90, 120, 200))
    return image


def drawing() -> Image.Image:
    random = np.random.default_rng(2)
    image = Image.new("RGB", (SIDE, SIDE), (90, 160, 230))
    draw = ImageDraw.Draw(image)
    colours = ((250, 220, 40), (220, 60, 60), (60, 140, 60), (240, 180, 150), (20, 20, 90))
    for index in range(60):
        x, y = random.uniform(0, SIDE, 2)
        radius = random.uniform(15, 70)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=colours[index % 5], outline="black", width=4)
    return image


def screenshot() -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), (32, 33, 36))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIDE, 40), fill=(60, 64, 67))
    draw.rectangle((0, 40, 130, SIDE), fill=(45, 46, 50))
    font = ImageFont.load_default(14)
    for line in range(20):
        draw.text((10, 50 + 22 * line), f"module_{line}.py", (170, 180, 190), font)
        indented = 160 + 30 * (line % 3)
        draw.text((indented, 50 + 22 * line), "return self.call(item)", "white", font)
    return image


SMOOTH = np.linspace(40, 200, SIDE)[:, None, None] + np.zeros((1, SIDE, 3))
CONFOUNDERS = [typeset_page, scanned_page, plot, drawing, screenshot]
DEGRADED: dict[str, Callable[[], Image.Image]] = {
    "jpeg 5": lambda: compress(photograph(), 5),
    "enlarged": lambda: enlarge(photograph(side=160), 4),
    "blurred": lambda: photograph().filter(ImageFilter.GaussianBlur(4)),
    "one colour": lambda: Image.new("RGB", (SIDE, SIDE), (90, 120, 160)),
    "black": lambda: Image.new("RGB", (SIDE, SIDE)),
    "blown out": lambda: picture(np.asarray(photograph()) * 0.01 + 254),
    "smooth": lambda: picture(SMOOTH),
}


def check(image: Image.Image) -> Reason | None:
    return check_gates(np.asarray(image), PHOTO_GATES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "degrade",
    [
        lambda image: image,
        lambda image: compress(image, 70),
        lambda image: compress(image, 40),
        lambda image: compress(image.resize((SIDE // 2, SIDE // 2)), 75),
    ],
    ids=["clean", "jpeg 70", "jpeg 40", "halved, jpeg 75"],
)
def test_photographs_pass(degrade: Callable[[Image.Image], Image.Image], seed: int) -> None:
    assert check(degrade(photograph(seed))) is None


def test_sky_over_half_of_a_photograph_passes() -> None:
    pixels = np.asarray(photograph()).copy()
    pixels[: SIDE // 2] = np.linspace(230, 250, SIDE // 2)[:, None, None]
    assert check_gates(pixels, PHOTO_GATES) is None


def test_black_borders_pass() -> None:
    framed = Image.new("RGB", (SIDE, 2 * SIDE))
    framed.paste(photograph(), (0, SIDE // 2))
    assert check(framed) is None


@pytest.mark.parametrize("quality", [None, 85, 60])
@pytest.mark.parametrize("make", CONFOUNDERS, ids=lambda make: make.__name__)
def test_what_is_no_photograph_is_outside(
    make: Callable[[], Image.Image], quality: int | None
) -> None:
    image = make()
    assert check(image if quality is None else compress(image, quality)) is Reason.OUTSIDE_DOMAIN


@pytest.mark.parametrize("name", DEGRADED)
def test_what_has_lost_its_traces_is_too_degraded(name: str) -> None:
    assert check(DEGRADED[name]()) is Reason.TOO_DEGRADED


@pytest.mark.parametrize(
    ("limit", "let_go", "make", "reason"),
    [
        ("minimum_textured_share", 0.0, lambda: picture(SMOOTH), Reason.TOO_DEGRADED),
        ("minimum_sharpness", 0.0, DEGRADED["blurred"], Reason.TOO_DEGRADED),
        ("maximum_blocking", 1e9, DEGRADED["jpeg 5"], Reason.TOO_DEGRADED),
        ("maximum_drawn_share", 1.0, lambda: compress(drawing(), 85), Reason.OUTSIDE_DOMAIN),
        ("maximum_paper_share", 1.0, lambda: scanned_page(noise=12), Reason.OUTSIDE_DOMAIN),
    ],
)
def test_every_limit_decides_alone(
    limit: str, let_go: float, make: Callable[[], Image.Image], reason: Reason
) -> None:
    pixels = np.asarray(make())
    assert check_gates(pixels, PHOTO_GATES) is reason
    assert check_gates(pixels, replace(PHOTO_GATES, **{limit: let_go})) is None


def test_both_ends_of_a_limit_pass() -> None:
    pixels = np.asarray(photograph())
    measures = measure_gates(pixels)
    exact = {
        "minimum_textured_share": measures.textured_share,
        "minimum_sharpness": measures.sharpness,
        "maximum_blocking": measures.blocking,
        "maximum_paper_share": measures.paper_share,
        "maximum_drawn_share": measures.drawn_share,
    }
    assert check_gates(pixels, replace(PHOTO_GATES, **exact)) is None
    for name, value in exact.items():
        beyond = value + 1e-6 if name.startswith("minimum") else value - 1e-6
        assert check_gates(pixels, replace(PHOTO_GATES, **{name: beyond})) is not None, name


# The measures


def test_blocking_is_found_at_every_phase() -> None:
    coarse = np.asarray(compress(photograph(), 10))
    shifted = [measure_gates(coarse[y:, x:]).blocking for x, y in ((0, 0), (3, 5), (7, 1))]
    assert (
        min(shifted) > 0.8 * max(shifted) > 1.5 * measure_gates(np.asarray(photograph())).blocking
    )


def test_sharpness_falls_with_enlarging() -> None:
    small = photograph(side=256)
    sharpness = [
        measure_gates(np.asarray(image)).sharpness
        for image in (small, enlarge(small, 2), enlarge(small, 4))
    ]
    assert sharpness[0] > 5 * sharpness[1] > 5 * sharpness[2]


def test_half_a_page_is_half_textured() -> None:
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    pixels[:, : SIDE // 2] = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE // 2, 3))
    assert measure_gates(pixels).textured_share == 0.5


@given(st.integers(SMALLEST_SIDE, 700), st.integers(SMALLEST_SIDE, 700), st.integers(0, 255))
@settings(deadline=None, max_examples=30)
def test_any_size_is_measured(width: int, height: int, level: int) -> None:
    pixels = np.full((height, width, 3), level, np.uint8)
    assert check_gates(pixels, PHOTO_GATES) is Reason.TOO_DEGRADED
    pixels[:: 1 + level % 3] = np.arange(width)[:, None] % 256
    measures = measure_gates(pixels)
    assert all(np.isfinite(value) for value in asdict(measures).values())
    assert 0 <= measures.textured_share <= 1 <= measures.blocking
    turned = measure_gates(pixels.swapaxes(0, 1))
    assert asdict(turned) == pytest.approx(asdict(measures), rel=1e-4)


@pytest.mark.parametrize("size", [(SMALLEST_SIDE - 1, SIDE), (SIDE, SMALLEST_SIDE - 1), (1, 1)])
def test_what_is_too_small_to_measure_is_not_refused(size: tuple[int, int]) -> None:
    pixels = np.zeros((*size, 3), np.uint8)
    assert check_gates(pixels, PHOTO_GATES) is None
    with pytest.raises(ValueError, match="no tile of 64 px"):
        measure_gates(pixels)


def test_the_kept_figures_are_of_these_gates() -> None:
    path = Path(__file__).parent.parent / "benchmarks" / "results" / "gates.json"
    if not path.is_file():
        pytest.skip("the figures are in the checkout")
    assert json.loads(path.read_text("utf-8"))["gates"] == asdict(PHOTO_GATES)
