"""How a model of small pictures, CIFAKE's or others', holds up when they are degraded or attacked.

Small pictures tell no sources, so that there are splits and no folds; robustness.py is for those
that do. All figures are at a calibrated probability of one half, as published ones are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fakescan.training.attacks import (
    EPSILONS,
    Method,
    attack_windows,
    draw_evenly,
    exact_logits,
)
from fakescan.training.data import REAL, Pictures
from fakescan.training.evaluate import compute_metrics, pooled_logits
from fakescan.training.recompression import CLEAN, add_noise, blur, encode_jpeg

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.model import Detector
    from fakescan.records import UInt8Array
    from fakescan.weights import Calibration, ModelCard

    LogitsOf = Callable[[UInt8Array], npt.NDArray[np.float32]]

ATTACKED = 1000
"""Pictures that are attacked, unless another number is asked for: each costs some 36 passes."""

PUBLISHED: Mapping[str, float] = {CLEAN: 0.973, "jpeg-40": 0.959}
"""Accuracy on CIFAKE to beat: a ResNet-18 begun from ImageNet's weights and trained on noise and
JPEG, github.com/fmckie, the best published with figures for both."""


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """Figures of `n` pictures in one condition, in [0, 1]; `published` is an accuracy, if any."""

    condition: str
    n: int
    accuracy: float
    auc: float
    recall: float
    false_positive_rate: float
    published: float | None


def draw(pictures: Pictures, count: int, seed: int = 0) -> Pictures:
    """About `count` of the pictures, drawn by `seed`, half of each class."""
    everything = np.ones(len(pictures), dtype=np.bool_)
    return pictures.take(draw_evenly(pictures.labels, everything, count, seed))


def measure_conditions(
    logits_of: LogitsOf, card: ModelCard, pictures: Pictures
) -> tuple[ConditionRow, ...]:
    """A row for the pictures as they are, and one for each way in which they are degraded."""

    def measure(name: str, degrade: Callable[[UInt8Array, int], UInt8Array]) -> ConditionRow:
        degraded = np.stack([degrade(one, index) for index, one in enumerate(pictures.pixels)])
        return _row(name, logits_of, card, degraded, pictures.labels, PUBLISHED.get(name))

    conditions = tqdm(_CONDITIONS.items(), desc="degraded", disable=None, leave=False)
    return tuple(measure(name, degrade) for name, degrade in conditions)


def measure_attacked(
    detector: Detector, card: ModelCard, pictures: Pictures, count: int, *, seed: int = 0
) -> tuple[ConditionRow, ...]:
    """Rows of about `count` pictures drawn by `seed`, half of each class, under each attack.

    The first is of the same pictures as they are. Pictures are of the model's size.
    """
    attacked = draw(pictures, count, seed)

    def measure(name: str, pixels: UInt8Array) -> ConditionRow:
        return _row(name, partial(exact_logits, detector), card, pixels, attacked.labels, None)

    rows = [measure("not-attacked", attacked.pixels)]
    attacks = list(itertools.product(Method, EPSILONS))
    for method, epsilon in tqdm(attacks, desc="attacked", disable=None, leave=False):
        moved = attack_windows(*(detector, attacked.pixels, attacked.labels, method, epsilon), seed)
        rows.append(measure(f"{method}-{epsilon}", moved))
    return tuple(rows)


def _row(
    name: str,
    logits_of: LogitsOf,
    card: ModelCard,
    pixels: UInt8Array,
    labels: UInt8Array,
    published: float | None,
) -> ConditionRow:
    calibration: Calibration | None = card.calibration
    logits = pooled_logits(logits_of, pixels, card.input.size)
    metrics = compute_metrics(logits, labels, calibration)
    return ConditionRow(
        condition=name,
        n=metrics.n,
        accuracy=metrics.accuracy,
        auc=metrics.auc,
        recall=metrics.recall,
        false_positive_rate=metrics.false_positives / int((labels == REAL).sum()),
        published=published,
    )


def _keep(pixels: UInt8Array, _: int) -> UInt8Array:
    return pixels


def _encode(pixels: UInt8Array, _: int, quality: int) -> UInt8Array:
    return encode_jpeg(pixels, quality)


def _add_noise(pixels: UInt8Array, index: int, deviation: float) -> UInt8Array:
    return add_noise(pixels, deviation, index)


def _blur(pixels: UInt8Array, _: int, deviation: float) -> UInt8Array:
    return blur(pixels, deviation)


_CONDITIONS: Mapping[str, Callable[[UInt8Array, int], UInt8Array]] = {
    CLEAN: _keep,
    "jpeg-80": partial(_encode, quality=80),
    "jpeg-60": partial(_encode, quality=60),
    "jpeg-40": partial(_encode, quality=40),
    "noise-0.04": partial(_add_noise, deviation=0.04),
    "noise-0.10": partial(_add_noise, deviation=0.10),
    "blur-0.4": partial(_blur, deviation=0.4),
    "blur-1.0": partial(_blur, deviation=1.0),
}
"""Of a picture and its index, which noise begins from. Deviations are of white, and in pixels."""
