"""Figures of two classes with 95 % intervals that resample sources, not pictures.

Pictures of one generator or collection stand or fall together. To resample them one by one would
take a hundred pictures of one source for a hundred proofs (the cluster bootstrap: Davison & Hinkley
1997, "Bootstrap Methods and their Application", §3.8).

Weights (R, N) say how often each of R resamples took each of N pictures. Row 0 takes each once: its
figure is the value itself, the others' spread is the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fakescan.training import evaluate
from fakescan.training.evaluate import CALIBRATION_BINS

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    BoolArray = npt.NDArray[np.bool_]

RESAMPLES = 1000

_INTERVAL = (2.5, 97.5)
_NORMAL_QUANTILE = 1.959964  # of 97.5 %


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def draw_weights(
    sources: Sequence[str], classes: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> FloatArray:
    """Weights (1 + `resamples`, N): within each class as many sources as there are, drawn anew.

    Of a class of one source its pictures are drawn: drawn as a whole it would give figures
    intervals of no width. They tell nothing of other sources.
    """
    generator = np.random.default_rng(seed)
    # Of its own, so that other classes' draws stay what they are.
    for_pictures = np.random.default_rng([seed, 1])
    weights = np.ones((1 + resamples, len(sources)))
    names, kinds = np.array(sources), np.array(classes)
    for kind in sorted(set(classes)):
        own = np.flatnonzero(kinds == kind)
        found, numbers = np.unique(names[own], return_inverse=True)
        count = len(found)
        if count == 1:
            even = [1 / len(own)] * len(own)
            weights[1:, own] = for_pictures.multinomial(len(own), even, size=resamples)
            continue
        drawn = generator.multinomial(count, [1 / count] * count, size=resamples)
        weights[1:, own] = drawn[:, numbers]
    return weights


def estimate(figures: FloatArray) -> Estimate | None:
    """The estimate of figures (R,), the value first; None where there is no value.

    Resamples that have none, for lack of a class, count for nothing.
    """
    if math.isnan(figures[0]):
        return None
    known = figures[~np.isnan(figures)]
    low, high = np.percentile(known[1:] if len(known) > 1 else known, _INTERVAL)
    return Estimate(float(figures[0]), float(low), float(high))


def estimate_share(chosen: BoolArray, weights: FloatArray) -> Estimate | None:
    """The share of pictures that are `chosen` (N,), by `weights` (R, N); None for no pictures.

    The interval is never narrower than Wilson's (1927) of as many independent pictures: resampling
    alone would give a share of zero no interval at all.
    """
    found = estimate(weigh_share(chosen, weights))
    if found is None:
        return None
    low, high = wilson_interval(found.value, len(chosen))
    return Estimate(found.value, min(found.low, low), max(found.high, high))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval of a share of `count` independent pictures."""
    z2 = _NORMAL_QUANTILE**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    reach = _NORMAL_QUANTILE / (1 + z2 / count) * spread
    return max(0.0, middle - reach), min(1.0, middle + reach)


def weigh_share(chosen: BoolArray, weights: FloatArray) -> FloatArray:
    """The shares (R,) of pictures that are `chosen` (N,); NaN where a resample has none."""
    return _divide(weights @ chosen.astype(np.float64), weights.sum(axis=1))


def weigh_area(
    ai: FloatArray, real: FloatArray, ai_weights: FloatArray, real_weights: FloatArray
) -> FloatArray:
    """Areas (R,) under the ROC curves of AI's and real pictures' logits, ties counted half."""
    order = np.argsort(real)
    ordered = real[order]
    below = np.zeros((len(real_weights), len(real) + 1))
    np.cumsum(real_weights[:, order], axis=1, out=below[:, 1:])
    beaten = below[:, np.searchsorted(ordered, ai, "left")]
    beaten += below[:, np.searchsorted(ordered, ai, "right")]
    won = np.einsum("ra,ra->r", ai_weights, beaten) / 2
    return _divide(won, ai_weights.sum(axis=1) * below[:, -1])


def weigh_true_positive_rate(
    ai: FloatArray,
    real: FloatArray,
    ai_weights: FloatArray,
    real_weights: FloatArray,
    max_fpr: float,
) -> FloatArray:
    """The best true positive rates (R,) at false positive rates of at most `max_fpr`."""
    if not len(ai) or not len(real):
        return np.full(len(ai_weights), np.nan)
    order = np.argsort(-real)
    called = np.cumsum(real_weights[:, order], axis=1)
    total = called[:, -1:]
    # The first real picture that may not be called AI any more: what is above it may. The
    # allowance keeps 1 % of 300 at three, whatever its binary fraction.
    first = (called > max_fpr * total + 1e-9).argmax(axis=1)
    limits = real[order][first]
    found = np.einsum("ra,ra->r", ai_weights, (ai > limits[:, None]).astype(np.float64))
    rates = _divide(found, ai_weights.sum(axis=1))
    rates[total[:, 0] == 0] = np.nan
    return rates


def balanced_calibration_error(
    ai: FloatArray, real: FloatArray, bins: int = CALIBRATION_BINS
) -> float | None:
    """`evaluate`'s, of P(AI) of AI and real pictures; None where a class is missing."""
    if not len(ai) or not len(real):
        return None
    labels = np.repeat(np.array([1, 0], dtype=np.uint8), (len(ai), len(real)))
    return evaluate.balanced_calibration_error(np.concatenate([ai, real]), labels, bins)


def _divide(above: FloatArray, below: FloatArray) -> FloatArray:
    quotient = np.full(len(below), np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient
