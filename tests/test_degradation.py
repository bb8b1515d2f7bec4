"""The degradation chain: JPEG as the codec does it, and every step within its bounds."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from fakescan.training.degradation import (
    SMALL_PICTURES,
    DegradationOptions,
    degrade_pictures,
    draw_windows,
)
from fakescan.training.jpeg import compress, quantization_tables


def picture(seed: int, side: int = 64) -> np.ndarray:
    """Smooth colours and some texture, as a photograph has them; uint8 (side, side, 3)."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(20, 235, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    return np.clip(smooth + generator.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def by_codec(pixels: np.ndarray, quality: int, subsampling: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file)).astype(float)


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 98])
@pytest.mark.parametrize("subsampled", [False, True])
def test_jpeg_is_the_codecs(quality: int, subsampled: bool) -> None:
    pixels = picture(quality)
    expected = by_codec(pixels, quality, 2 if subsampled else 0)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    ours = compress(images, torch.tensor([quality]), torch.tensor([subsampled]))
    difference = np.abs(ours[0].permute(1, 2, 0).numpy() - expected)
    loss = np.abs(expected - pixels).mean()
    # The codec's integer transform rounds otherwise here and there; the loss itself is far larger.
    assert difference.mean() < 0.15 * loss + 0.5
    assert np.percentile(difference, 99) <= 9


def test_tables_are_libjpegs() -> None:
    for quality in (10, 50, 75, 95):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        tables = Image.open(file).quantization  # type: ignore[attr-defined]
        ours = quantization_tables(torch.tensor([quality]))
        for index in (0, 1):
            assert sorted(tables[index]) == sorted(int(v) for v in ours[index].flatten())


def test_every_picture_of_a_batch_has_its_own_settings() -> None:
    images = torch.from_numpy(picture(3)).permute(2, 0, 1).float().repeat(3, 1, 1, 1)
    settings = torch.tensor([95, 40, 95]), torch.tensor([False, False, True])
    together = compress(images, *settings)
    for index in range(3):
        alone = compress(images[:1], *(part[index : index + 1] for part in settings))
        torch.testing.assert_close(together[index], alone[0])
    losses = (together - images).abs().mean(dim=(1, 2, 3))
    assert losses[1] > losses[0]


def pictures(count: int = 6, side: int = 256) -> torch.Tensor:
    return torch.from_numpy(np.stack([picture(seed, side) for seed in range(count)]))


def draw(options: DegradationOptions, seed: int = 0, window: int = 128) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return draw_windows(pictures(), window, options, generator)


NOTHING = DegradationOptions(resize=0, blur=0, noise=0, jpeg=0, second_jpeg=0)
UNTOUCHED = DegradationOptions(untouched=1, resize=1, blur=1, noise=1, jpeg=1, second_jpeg=1)


def test_windows_are_pixels_and_repeat_with_the_seed() -> None:
    first, again, other = (
        draw(DegradationOptions(), 1),
        draw(DegradationOptions(), 1),
        draw(DegradationOptions(), 2),
    )
    assert first.shape == (6, 128, 128, 3)
    assert torch.equal(first, first.round())
    assert first.min() >= 0
    assert first.max() <= 255
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("options", [NOTHING, UNTOUCHED])
def test_without_any_step_a_window_is_a_piece_of_its_picture(options: DegradationOptions) -> None:
    whole = pictures(3, 64)
    windows = draw_windows(whole, 16, options, torch.Generator().manual_seed(4))
    for picture_, window in zip(whole.float(), windows, strict=True):
        pieces = picture_.unfold(0, 16, 1).unfold(1, 16, 1).permute(0, 1, 3, 4, 2)
        assert any(
            bool((pieces == candidate).flatten(2).all(dim=2).any())
            for candidate in (window, window.flip(1))
        )


@pytest.mark.parametrize("step", ["resize", "blur", "noise", "jpeg", "second_jpeg"])
def test_each_step_changes_what_it_is_asked_to(step: str) -> None:
    changed = draw(dataclasses.replace(NOTHING, **{step: 1.0}))
    assert not torch.equal(changed, draw(NOTHING))
    assert changed.isfinite().all()


def test_scales_that_a_small_picture_cannot_fill_are_not_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    options = DegradationOptions(resize=1.0, scales=(0.1, 1.0))
    assert draw_windows(pictures(2, 160), 128, options, generator).shape == (2, 128, 128, 3)


def small(count: int = 64, side: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.stack([picture(seed, side) for seed in range(count)]))


def test_small_pictures_keep_size_and_place_and_some_are_left_as_they_are() -> None:
    pictures = small()
    degraded = degrade_pictures(pictures, SMALL_PICTURES, torch.Generator().manual_seed(0))
    assert degraded.shape == pictures.shape
    assert torch.equal(degraded, degraded.round().clamp(0, 255))
    same = (degraded == pictures).flatten(1).all(dim=1)
    # Left alone by all three: 0.7 * 0.7 * 0.5 of them.
    assert 0.1 < same.float().mean() < 0.4


def test_small_pictures_are_encoded_on_the_codecs_grid() -> None:
    only_jpeg = dataclasses.replace(
        SMALL_PICTURES, blur=0, noise=0, jpeg=1, qualities=(60, 60), subsampled=1
    )
    # 20 is no multiple of a coded block's 16.
    pictures = small(4, 20)
    ours = degrade_pictures(pictures, only_jpeg, torch.Generator().manual_seed(0))
    for index in range(4):
        expected = by_codec(pictures[index].numpy(), 60, 2)
        # The codec fills blocks up over the edge in another way, which reaches the next pixels.
        difference = np.abs(ours[index].numpy() - expected)
        assert difference[:16, :16].mean() < 1 < np.abs(expected - pictures[index].numpy()).mean()
        assert difference.mean() < 3


def test_noise_of_small_pictures_is_as_strong_as_said() -> None:
    only_noise = dataclasses.replace(SMALL_PICTURES, blur=0, noise=1, jpeg=0)
    grey = torch.full((400, 16, 16, 3), 128, dtype=torch.uint8)
    degraded = degrade_pictures(grey, only_noise, torch.Generator().manual_seed(0))
    deviations = degraded.flatten(1).std(dim=1)
    assert deviations.max() == pytest.approx(25.5, abs=2)
    assert deviations.mean() == pytest.approx(12.75, abs=1.5)
