"""When a photo model abstains: too little of the picture is left, or it is no photograph.

A picture is measured on at most 64 native tiles spread evenly over it, so that the cost is bounded
and no trace is lost to resizing. benchmarks/LOG.md tells how the measures and limits were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fakescan.images import BRIGHTEST, DARKEST, SHARP_STEP
from fakescan.records import Reason
from fakescan.weights import Gates

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

    FloatArray = npt.NDArray[np.float64]
    Int16Array = npt.NDArray[np.int16]

SMALLEST_SIDE = 64
"""Of smaller pictures nothing is measured, and none is refused."""

PHOTO_GATES = Gates(
    minimum_textured_share=0.125,
    minimum_sharpness=0.0007,
    maximum_blocking=2.5,
    maximum_paper_share=0.7,
    maximum_drawn_share=0.25,
)
"""For photographs; benchmarks/results/gates.json holds what they refuse."""

_TILE = 64
_TILES_A_SIDE = 8
_BLOCK = 8  # JPEG's

# A tile is flat where at most a tenth of its pixels differ from a neighbour by more than rounding.
_FLAT_STEP = 1
_LEAST_TEXTURE = 0.1
_MOST_CLIPPED = 0.9

_TONES = 64
_PAPER_TONES = 8
_PAPER_SHARP_SHARE = 0.01
_DRAWN_SHARP_SHARE = 0.02
_DRAWN_TWO_TONES = 0.6

# Cycles a pixel. Four times enlarged, a picture has nothing above 1/8.
_LOW_BAND = (1 / 32, 1 / 8)
_HIGH_BAND = (1 / 4, 1 / 2)

# Half a level: less than that between two pixels is rounding, whatever the ratio.
_ROUNDING = 0.5


@dataclass(frozen=True, slots=True)
class GateMeasures:
    """What the gates look at.

    `textured_share`: of the tiles, those neither flat nor clipped, in [0, 1].
    `sharpness`: energy of luma between 1/4 and 1/2 cycles a pixel, for each of that between 1/32
    and 1/8, from 0 up; JPEG's block frequencies are left out of both.
    `blocking`: the step across the edges of JPEG's blocks for each step within them, from 1 up,
    after Wang, Sheikh and Bovik 2002, "No-reference perceptual quality assessment of JPEG
    compressed images"; the lesser of rows and columns, at the phase where it is largest.
    `paper_share`: the pixels within 32 adjacent levels of the bright half, in [0, 1]; 0 without
    sharp steps.
    `drawn_share`: of the tiles, those with sharp steps where two tones of 64 cover most.
    """

    textured_share: float
    sharpness: float
    blocking: float
    paper_share: float
    drawn_share: float


def check_gates(pixels: UInt8Array, gates: Gates) -> Reason | None:
    """Why a model with these `gates` abstains from `pixels` (H, W, 3); None where it need not.

    `too_degraded` or `outside_domain`. About 10 ms whatever the size. A picture under 64 px on a
    side is never refused.
    """
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        return None
    measures = measure_gates(pixels)
    # First, since a page is mostly flat, and lines at even distances look like blocks.
    if (
        measures.paper_share > gates.maximum_paper_share
        or measures.drawn_share > gates.maximum_drawn_share
    ):
        return Reason.OUTSIDE_DOMAIN
    if (
        measures.textured_share < gates.minimum_textured_share
        or measures.blocking > gates.maximum_blocking
        or measures.sharpness < gates.minimum_sharpness
    ):
        return Reason.TOO_DEGRADED
    return None


def measure_gates(pixels: UInt8Array) -> GateMeasures:
    """What the gates look at, of `pixels` (H, W, 3). Raises ValueError under 64 px on a side."""
    luma = _luma_tiles(pixels)
    across, down = np.abs(np.diff(luma, axis=2)), np.abs(np.diff(luma, axis=1))
    step = np.maximum(across[:, :-1], down[:, :, :-1])
    sharp = (step > SHARP_STEP).mean(axis=(1, 2))
    tones = _count_tones(luma)
    two_tones = np.partition(tones, -2, axis=1)[:, -2:].sum(axis=1)
    drawn = (two_tones > _DRAWN_TWO_TONES) & (sharp > _DRAWN_SHARP_SHARE)
    has_type = float(sharp.mean()) > _PAPER_SHARP_SHARE
    return GateMeasures(
        textured_share=_textured_share(luma, step),
        sharpness=_sharpness(luma),
        blocking=min(_blocking(across.mean(axis=(0, 1))), _blocking(down.mean(axis=(0, 2)))),
        paper_share=_paper_share(tones.mean(axis=0)) if has_type else 0.0,
        drawn_share=float(drawn.mean()),
    )


def _luma_tiles(pixels: UInt8Array) -> Int16Array:
    """At most 64 tiles (N, 64, 64), evenly spread, of luma in [0, 255]."""
    height, width = pixels.shape[:2]
    if min(height, width) < _TILE:
        raise ValueError(f"no tile of {_TILE} px fits into {width}x{height}")
    tiles = np.stack(
        [
            pixels[y : y + _TILE, x : x + _TILE]
            for y in _tile_starts(height)
            for x in _tile_starts(width)
        ]
    ).astype(np.int16)
    # (R + 2 G + B) / 4: within 3 % of BT.601's luma, in shifts.
    luma: Int16Array = (tiles[..., 0] + 2 * tiles[..., 1] + tiles[..., 2]) >> 2
    return luma


def _tile_starts(length: int) -> list[int]:
    count = min(_TILES_A_SIDE, length // _TILE)
    # On whole blocks, so that the edges of all tiles' blocks fall together.
    gaps = max(1, count - 1)
    return [tile * (length - _TILE) // gaps // _BLOCK * _BLOCK for tile in range(count)]


def _textured_share(luma: Int16Array, step: Int16Array) -> float:
    textured = (step > _FLAT_STEP).mean(axis=(1, 2)) > _LEAST_TEXTURE
    clipped = ((luma < DARKEST) | (luma > BRIGHTEST)).mean(axis=(1, 2)) >= _MOST_CLIPPED
    return float((textured & ~clipped).mean())


def _sharpness(luma: Int16Array) -> float:
    window = np.hanning(_TILE).astype(np.float32)
    frequencies = np.fft.rfftfreq(_TILE)
    of_blocks = np.arange(len(frequencies)) % (_TILE // _BLOCK) == 0
    energy = np.zeros(len(frequencies))
    for tiles in (luma, luma.swapaxes(1, 2)):
        # Every other line is enough, and half the time.
        lines = tiles[:, ::2].astype(np.float32)
        lines -= lines.mean(axis=2, keepdims=True)
        spectra = np.fft.rfft(lines * window, axis=2)
        energy += (spectra.real**2 + spectra.imag**2).mean(axis=(0, 1))

    def mean_energy(band: tuple[float, float]) -> float:
        inside = (frequencies >= band[0]) & (frequencies <= band[1]) & ~of_blocks
        return float(energy[inside].mean())

    low = mean_energy(_LOW_BAND)
    return mean_energy(_HIGH_BAND) / low if low else 0.0


def _blocking(steps: FloatArray) -> float:
    """From the mean step (63,) between a line and the next to how much blocks stand out."""
    phases = np.sort([steps[phase::_BLOCK].mean() for phase in range(_BLOCK)])
    return float((phases[-1] + _ROUNDING) / (phases[:-1].mean() + _ROUNDING))


def _count_tones(luma: Int16Array) -> FloatArray:
    """For each tile the shares (N, 64) of its pixels in 64 tones of four levels each."""
    count = len(luma)
    tiles = np.arange(count)[:, None, None] * _TONES
    tones = np.bincount((tiles + (luma >> 2)).ravel(), minlength=count * _TONES)
    return tones.reshape(count, _TONES) / _TILE**2


def _paper_share(tones: FloatArray) -> float:
    bright = tones[_TONES // 2 :]
    return float(np.convolve(bright, np.ones(_PAPER_TONES), "valid").max())
